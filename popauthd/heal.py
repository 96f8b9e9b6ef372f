"""Looks at the LMDB files before they are opened, and moves a damaged one aside.

A damaged file can end the process that maps it (SIGBUS for one cut short, SIGSEGV for random pages), so
it is opened and read through in a child process first. A file that the child cannot read is renamed, kept
(the newest KEEP of them), and made anew: the books from the log, the map from the books.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

from popauthd.errors import StoreError, StoreNewerError

log = logging.getLogger("popauthd.watch")

KEEP = 3
PROBE_SECONDS = 120
# Reads every record of every database, and prints the schema of the books last.
_CHILD = """
import sys, lmdb
path, names = sys.argv[1], sys.argv[2].split()
with lmdb.open(path, subdir=False, readonly=True, lock=False, max_dbs=20, map_size=1 << 33) as env:
    with env.begin() as txn:
        schema = b""
        databases = [env.open_db(name.encode(), txn=txn, create=False) for name in names] or [None]
        for name, database in zip(names or [""], databases):
            for key, value in txn.cursor(db=database) if database is not None else txn.cursor():
                if name == "meta" and bytes(key) == b"schema":
                    schema = bytes(value)
print(schema.decode("ascii"))
"""


def probe(path: str, databases: tuple[str, ...] = ()) -> tuple[bool, str]:
    """Read an LMDB file through in a child process: (True, its schema or "") or (False, what is wrong)."""
    command = [sys.executable, "-I", "-c", _CHILD, path, " ".join(databases)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False, f"reading it took more than {PROBE_SECONDS} s"
    if done.returncode < 0:
        return False, f"reading it ended the process with signal {-done.returncode}"
    if done.returncode > 0:
        return False, done.stderr.decode("ascii", "replace").strip().rpartition("\n")[2][:200]
    return True, done.stdout.decode("ascii").strip()


def move_aside(path: str, why: str) -> str:
    """Rename a damaged file out of the way, keep the newest few, and say so; returns the new name."""
    file = Path(path)
    aside = file.with_name(f"{file.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.monotonic_ns() % 1000:03d}")
    try:
        file.rename(aside)
        Path(f"{path}-lock").unlink(missing_ok=True)
        for old in sorted(file.parent.glob(f"{file.name}.damaged-*"))[:-KEEP]:
            old.unlink()
    except OSError as error:
        raise StoreError(f"{path} is damaged ({why}) and cannot be moved aside: {error.strerror}") from error
    log.warning("damaged file moved aside path=%s kept=%s: %s", path, aside, why)
    return str(aside)


def heal(path: str, databases: tuple[str, ...] = (), schema: str = "") -> str:
    """Make sure that `path` can be opened: absent, or whole and of this schema. Returns "" or what was done.

    Raises StoreNewerError for a newer schema: an older popauthd must not throw away what a newer one knows.
    """
    file = Path(path)
    try:
        if file.stat().st_size == 0:
            file.unlink()
            return f"{path} was empty"
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(f"{path}: cannot be looked at: {error.strerror}") from error
    whole, found = probe(path, databases)
    if whole and found == schema:
        return ""
    if whole and found.isdecimal() and int(found) > int(schema):
        raise StoreNewerError(
            f"{path} was written by a newer popauthd (schema {found}, this one knows {schema}); "
            "install that version again, or move the file away to start from the log"
        )
    why = f"schema {found!r} is older than {schema!r}" if whole else found
    return f"{path}: {why}; kept as {move_aside(path, why)}"
