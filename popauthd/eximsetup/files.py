"""Writes Exim's files: each in one step and synced to disk; a half-written one has a name by which it is found."""

from __future__ import annotations

import os
from pathlib import Path

from popauthd.durable import sync_directory
from popauthd.errors import ConfigError


def write(path: Path, text: str | None, mode: int = 0o644) -> None:
    """Replace a file in one step, its owner and mode kept, or remove it. Raises ConfigError.

    mode: of a file that was not there.
    """
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        path = path.resolve()  # an administrator's symbolic link stays one
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        status = path.stat() if path.exists() else None
        fresh = _fresh(path)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                os.fchmod(file.fileno(), status.st_mode & 0o7777 if status else mode)
                if status:
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def clean(path: Path) -> None:
    """Remove what a `write` that was killed has left beside a file. Raises ConfigError."""
    try:
        _fresh(path.resolve()).unlink(missing_ok=True)
    except (NotADirectoryError, FileNotFoundError):
        return
    except OSError as error:
        raise ConfigError(f"{_fresh(path)}: cannot be removed: {error.strerror}") from error


def _fresh(path: Path) -> Path:
    # Exim's configuration is not made of files whose names begin with a full stop.
    return path.with_name(f".{path.name}.popauthd-new")
