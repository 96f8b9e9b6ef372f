"""Open files of a log: the log itself, its rotated siblings, plain or compressed.

Nothing but a regular file is ever read: a FIFO would block, a device may do anything, and a
symbolic link put in the log's place would make us read (and believe) another file. A link that was
there when the source was set up is followed, under the rule of `followed`.

A compressed file is read as a stream, forward; going back starts it again.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import shutil
import stat
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

PACKED = (".gz", ".xz", ".zst", ".bz2")
LINK = "a symbolic link, and was none when it was set up: name the file itself in the configuration"
SKIP_BYTES = 262144  # decompressed at a time when going forward
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


class Trouble(Exception):
    """A file that cannot be read now; `kind` is missing, unreadable or refused."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Handle(Protocol):
    """An open file of a log."""

    path: str
    dev: int
    ino: int
    packed: bool

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer at the end of the file, none only there."""

    def left(self, offset: int) -> int:
        """Bytes after `offset`; for a compressed file a guess that is 0 only at its end."""

    def data_after(self, offset: int) -> int:
        """Where the next bytes that are not a hole begin; `offset` itself if that is not known."""

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""


class Stream(Protocol):
    """The file-like object that a decompressor gives."""

    def read(self, count: int, /) -> bytes:
        """Up to `count` bytes; none only at the end."""

    def close(self) -> None:
        """Let go of it."""


class Plain:
    """A regular file, read by position, so that nobody shares a file offset with us."""

    packed = False

    def __init__(self, path: str, fd: int, info: os.stat_result) -> None:
        self.path = path
        self.dev = info.st_dev
        self.ino = info.st_ino
        self._fd = fd

    def read(self, offset: int, count: int) -> bytes:
        # One call, not a loop: between two the file could be rewritten, and lines be joined that never were.
        return os.pread(self._fd, count, offset)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def left(self, offset: int) -> int:
        return max(0, self.size() - offset)

    def data_after(self, offset: int) -> int:
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError:  # no data after it, or a file system that does not know
            return offset

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Packed:
    """A compressed file, read as the bytes it holds.

    LIMIT: finding a place in it means decompressing all before it, which takes about a second for
    100 MB of log; logins wait for that once, after a restart that crossed a rotation.
    """

    packed = True

    def __init__(self, path: str, fd: int, info: os.stat_result) -> None:
        self.path = path
        self.dev = info.st_dev
        self.ino = info.st_ino
        self.damage = ""
        self._fd = fd
        self._stream: Stream | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._at = 0
        self._ended = False
        self._ready = b""  # what was read last, kept so that a second look at it costs nothing

    def read(self, offset: int, count: int) -> bytes:
        if offset < self._at - len(self._ready):
            self._stop()
        while self._at < offset + count and not self._ended:
            data = self._next(max(SKIP_BYTES, count))
            start = self._at - len(self._ready)
            keep = self._ready[max(0, offset - start) :] if offset < self._at else b""
            self._ready = keep + data
            self._at += len(data)
        start = self._at - len(self._ready)
        return self._ready[max(0, offset - start) :][:count]

    def left(self, offset: int) -> int:
        if self._ended and offset >= self._at:
            return 0
        return max(1, self._at - offset, os.fstat(self._fd).st_size - os.lseek(self._fd, 0, os.SEEK_CUR))

    def data_after(self, offset: int) -> int:
        return offset

    def close(self) -> None:
        self._stop()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _next(self, count: int) -> bytes:
        try:
            if self._stream is None:
                os.lseek(self._fd, 0, os.SEEK_SET)
                self._stream = self._open()
            data = self._stream.read(count)
        except DAMAGED as error:
            self.damage = str(error) or type(error).__name__
            data = b""
        if not data:
            self._ended = True
            if self._child is not None and self._child.wait() != 0:
                self.damage = f"zstd ended with {self._child.returncode}"
        return data

    def _open(self) -> Stream:
        name, raw = self.path, os.fdopen(os.dup(self._fd), "rb")
        if name.endswith(".zst"):
            with raw:
                self._child = zstd(raw)
            assert self._child.stdout is not None
            return self._child.stdout
        # The decompressor owns the duplicate; it is closed with the stream by _Both.
        return _Both(raw, DECOMPRESSORS[Path(name).suffix](raw))

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._stream = self._child = None
        self._at, self._ended, self._ready = 0, False, b""


class _Both:
    """A decompressing stream that also closes the file below it."""

    def __init__(self, raw: IO[bytes], stream: Stream) -> None:
        self._raw, self._stream = raw, stream

    def read(self, count: int, /) -> bytes:
        return self._stream.read(count)

    def close(self) -> None:
        self._stream.close()
        self._raw.close()


def _gzip(raw: IO[bytes]) -> Stream:
    return gzip.GzipFile(fileobj=raw, mode="rb")


DECOMPRESSORS: dict[str, Callable[[IO[bytes]], Stream]] = {
    ".gz": _gzip,
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
}


def zstd(raw: IO[bytes]) -> subprocess.Popen[bytes]:
    """Decompress by the zstd command: Python has no zstd of its own before 3.14."""
    command = ["zstd", "-dcq"]
    return subprocess.Popen(command, stdin=raw, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def open_file(path: str) -> Handle:
    """Open a regular file of a log, compressed or not by its name; never a link, FIFO or device.

    Raises Trouble.
    """
    if path.endswith(".zst") and shutil.which("zstd") is None:
        raise Trouble("unreadable", f"{path} is compressed with zstd: install the package zstd")
    try:
        # Opening a device can have effects of its own: look before.
        _regular(path, os.lstat(path))
        fd = os.open(path, OPEN_FLAGS)
    except OSError as error:
        raise trouble(path, error) from error
    try:
        info = os.fstat(fd)
        _regular(path, info)
    except BaseException:
        os.close(fd)
        raise
    return Packed(path, fd, info) if path.endswith(PACKED) else Plain(path, fd, info)


def followed(path: str, owner: int) -> str:
    """The real path behind a link that was configured; raises Trouble when it must not be followed.

    The link must belong to root, to us, or to the owner of the file it names; and that file must
    belong to the same user as when the source was set up (`owner`; -1 if it did not exist then).
    """
    try:
        link = os.lstat(path)
        real = os.path.realpath(path)
        target = Path(real).stat()
    except OSError as error:
        raise trouble(path, error) from error
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid(), target.st_uid):
        raise Trouble("refused", f"{path} is a symbolic link made by user {link.st_uid}")
    if owner not in (-1, target.st_uid):
        raise Trouble("refused", f"{path} now leads to a file of user {target.st_uid}, before of {owner}")
    return real


def trouble(path: str, error: OSError) -> Trouble:
    """The Trouble that an OSError means for a log."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Trouble("missing", f"{path} does not exist")
    if error.errno == errno.ELOOP:
        return Trouble("refused", f"{path} is {LINK}")
    return Trouble("unreadable", f"{path}: {error.strerror}")


KINDS = (
    (stat.S_ISREG, ""),
    (stat.S_ISLNK, LINK),
    (stat.S_ISDIR, "a directory, not a file"),
    (stat.S_ISFIFO, "a FIFO, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
)


def _regular(path: str, info: os.stat_result) -> None:
    what = next((name for test, name in KINDS if test(info.st_mode)), "a device, not a file")
    if what:
        raise Trouble("refused", f"{path} is {what}")
