"""The relay map: address -> expiry, an LMDB file that Exim's side reads and only the watcher writes.

Key: canonical address text, or an IPv6 /64 as `2001:db8:1:2::/64`, which speaks for every address in it.
Value: `<expiry> <key>` in ASCII, as `1795469400 192.0.2.10`. A reader checks both parts, so a page that was
recycled under it can never answer for another address, and it needs no clock but its own to refuse an old
entry.

Readers open the file without a lock (the lock file must not be writable by Exim's user, who could
fill the map by holding a page), so against a very busy writer a present key may be missed: they look a
second time in a new transaction. They never use a cursor.

The map is derived from the books and may be lost at any time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import lmdb

from popauthd import file_marks
from popauthd.address import keys
from popauthd.errors import StoreBrokenError, StoreError
from popauthd.file_marks import Mark
from popauthd.store.map_size import map_bytes

# Newer ones import this when they first open a file, which may be as a user who cannot read it where it is installed.
with contextlib.suppress(ImportError):
    importlib.import_module("lmdb._envid")

MAP_BYTES = map_bytes(1 << 30)  # address space, not disk: 1 GiB holds some 8 million addresses
FILE_MODE = 0o640
_RECORD = re.compile(rb"([0-9]{1,12}) ([0-9a-f.:]{2,45}(?:/64)?)")


def record(address: str, expires_at: int) -> bytes:
    """The stored value for an address."""
    return b"%d %s" % (expires_at, address.encode("ascii"))


def read_record(address: str, value: bytes) -> int | None:
    """The expiry in a stored value, or None if the value is not one for this very address."""
    match = _RECORD.fullmatch(value)
    if match is None or match[2] != address.encode("ascii"):
        return None
    return int(match[1])


class MapFullError(StoreError):
    """The map fills the address space it was given."""


class MapWriter:
    """The one writer. Not synced to disk: the map is rebuilt from the books at every start.

    Raises StoreError when the file cannot be opened or written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = f"{path}-lock"
        self._env: lmdb.Environment | None = None
        self._left: tuple[Mark | None, Mark | None] = (None, None)  # map and lock as we left them
        self._open()

    def _open(self) -> None:
        try:
            self._env = lmdb.open(
                self.path, map_size=MAP_BYTES, subdir=False, mode=FILE_MODE, sync=False, metasync=False, max_readers=16
            )
            # The lock file gets the map's mode from LMDB; Exim's user has no business in it.
            Path(self._lock).chmod(0o600)
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"relay map {self.path}: cannot be opened: {error}") from error
        self._left = (file_marks.at(self.path), file_marks.at(self._lock))

    def lost(self) -> str:
        """What somebody else did to the file or to LMDB's lock file beside it, or "".

        Writing then would reach nobody, or, where a file was cut short, end the process (SIGBUS).
        LIMIT: that can still happen between this look and a write; the next start makes the map anew.
        """
        if what := file_marks.difference(self._left[0], file_marks.at(self.path)):
            return what
        before, now = self._left[1], file_marks.at(self._lock)
        if before is None or now is None or (now.inode, now.size) != (before.inode, before.size):
            return "lost its lock file"  # its time tells nothing: LMDB writes to it through memory
        return ""

    def remake(self, entries: Iterable[tuple[str, int]]) -> int:
        """Put a new file in the place of one that was lost, with these entries; returns how many.

        Raises StoreError, and is still lost then.
        """
        self._give_up()
        try:
            for path in (self.path, self._lock):
                Path(path).unlink(missing_ok=True)  # not opened: a strange file can end the process
        except OSError as error:
            raise StoreError(f"relay map {self.path}: is in the way and cannot be removed: {error.strerror}") from error
        self._open()
        try:
            return self.replace(entries)
        except StoreError:
            self._left = (None, None)
            raise

    def _give_up(self) -> None:
        """Close the file that was lost. Closing touches the lock file, which must have its size again for that."""
        before, now = self._left[1], file_marks.at(self._lock)
        if before is not None and now is not None and now.inode == before.inode and now.size < before.size:
            with contextlib.suppress(OSError):
                os.truncate(self._lock, before.size)
        self.close()

    def apply(self, changes: Mapping[str, int | None], *, cleared: bool = False) -> None:
        """Publish changes in one transaction: an expiry to put, None to take the address out.

        cleared: take everything out first.
        """
        if not changes and not cleared:
            return
        try:
            self._apply(changes, cleared=cleared)
        except MapFullError:
            if not self._grow():
                raise
            self._apply(changes, cleared=cleared)

    def _apply(self, changes: Mapping[str, int | None], *, cleared: bool) -> None:
        with self._writing() as txn:
            if cleared:
                txn.drop(self._opened().open_db(txn=txn), delete=False)
            for address in sorted(changes):
                expires_at = changes[address]
                key = address.encode("ascii")
                if expires_at is None:
                    txn.delete(key)
                else:
                    txn.put(key, record(address, expires_at))

    def _grow(self) -> bool:
        """Give the map twice the address space; False if this machine has no more. Readers see it and open it anew."""
        size = int(self._opened().info()["map_size"])
        larger = map_bytes(2 * size)
        if larger > size:
            self._opened().set_mapsize(larger)
        return larger > size

    def replace(self, entries: Iterable[tuple[str, int]]) -> int:
        """Make the map hold exactly these entries, in one transaction: readers see the old or the new.

        Returns how many there are.
        """
        number = 0
        with self._writing() as txn:
            txn.drop(self._opened().open_db(txn=txn), delete=False)
            for address, expires_at in entries:  # not sorted: the books give them in order, and there may be many
                txn.put(address.encode("ascii"), record(address, expires_at))
                number += 1
        return number

    @contextlib.contextmanager
    def _writing(self) -> Iterator[lmdb.Transaction]:
        try:
            with self._opened().begin(write=True) as txn:
                yield txn
        except lmdb.PanicError as error:
            raise StoreBrokenError(f"relay map {self.path}: LMDB gave up on it: {error}") from error
        except lmdb.MapFullError as error:
            raise MapFullError(f"relay map {self.path}: cannot be written: it is full") from error
        except lmdb.Error as error:
            raise StoreError(f"relay map {self.path}: cannot be written: {error}") from error
        finally:
            self._remember()

    def _remember(self) -> None:
        """How we left the file; of one that came into its place meanwhile `lost` tells."""
        before, now = self._left[0], file_marks.at(self.path)
        if before is not None and now is not None and (now.device, now.inode) == (before.device, before.inode):
            self._left = (now, self._left[1])

    def _opened(self) -> lmdb.Environment:
        if self._env is None:
            raise StoreError(f"relay map {self.path}: was lost, and is not made again yet")
        return self._env

    def check_readers(self) -> int:
        """Free the slots of readers that died; returns how many."""
        return int(self._opened().reader_check())

    def close(self) -> None:
        """Close the file."""
        if self._env is not None:
            self._env.close()
        self._env = None


class MapReader:
    """Reads the map as Exim's side does: read-only, without a lock, and notices a file that was replaced.

    `expiry` raises StoreError when the map is missing or unreadable: the caller answers "no".
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._env: lmdb.Environment | None = None
        self._identity: tuple[int, int] | None = None
        self._page_bytes = 4096

    def open(self) -> None:
        """Open the map that is there now, so that a look needs no descriptor. Raises StoreError."""
        try:
            self._open()
        except (lmdb.Error, OSError) as error:
            raise self._trouble(error) from error

    def expiry(self, address: str) -> int | None:
        """The expiry stored for a canonical address or, if it is later, for its /64; None if there is neither."""
        found = [expires_at for key in keys(address) if (expires_at := self._expiry(key)) is not None]
        return max(found, default=None)

    def _expiry(self, key: str) -> int | None:
        """What is stored under one key; a miss is looked at a second time."""
        for _look in range(2):
            try:
                with self._open().begin(buffers=False) as txn:
                    value = txn.get(key.encode("ascii"))
            except lmdb.MapResizedError:  # it has outgrown what we mapped: opened anew, all of it is
                self.close()
                continue
            except (lmdb.Error, OSError) as error:
                raise self._trouble(error) from error
            if value is not None and (expires_at := read_record(key, value)) is not None:
                return expires_at
        return None

    def _trouble(self, error: Exception) -> StoreError:
        # What is open stays open while its file is missing or cut short: the next one may come when no descriptor is
        # free, and its inode could have the old one's number if nobody held that.
        if isinstance(error, lmdb.Error):
            self.close()
        return StoreError(f"relay map {self.path}: cannot be read: {error}")

    def _open(self) -> lmdb.Environment:
        status = os.stat(self.path)  # noqa: PTH116 - on the path of every lookup
        identity = (status.st_dev, status.st_ino)
        if self._env is not None and identity != self._identity:
            self.close()
        if self._env is None:
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a file")  # opening a pipe would never end
            self._env = lmdb.open(
                self.path, subdir=False, readonly=True, lock=False, create=False, map_size=MAP_BYTES, max_readers=1
            )
            self._identity = identity
            self._page_bytes = self._env.stat()["psize"]
        # A file cut short under us would kill the process (SIGBUS) at the first page that is gone. The two
        # header pages come first, as reading the number of pages touches them; and the size is asked for again
        # before it counts, as a writer may have added pages since.
        needed = 2 * self._page_bytes
        if status.st_size >= needed:
            needed = self._pages() * self._page_bytes
        if status.st_size < needed and os.stat(self.path).st_size < needed:  # noqa: PTH116
            raise OSError(f"the file is cut short at {status.st_size} bytes")
        return self._env

    def _pages(self) -> int:
        assert self._env is not None
        return int(self._env.info()["last_pgno"]) + 1

    def close(self) -> None:
        """Forget the open file; the next look opens it again."""
        if self._env is not None:
            with contextlib.suppress(lmdb.Error):
                self._env.close()
        self._env = None
        self._identity = None
