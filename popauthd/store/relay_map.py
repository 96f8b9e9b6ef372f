"""The relay map: address -> expiry, an LMDB file that Exim's side reads and only the watcher writes.

Key: an address in canonical text, or an IPv6 /64 such as `2001:db8:1:2::/64`, which stands for every address in it.
Value: `<expiry> <key>` in ASCII, such as `1795469400 192.0.2.10`. A reader checks both parts. So a page that LMDB
reused while it was read can never answer for another address, and an old entry is refused by the reader's own clock.

Exim's side opens the file without a lock, because Exim's user must not be able to write the lock file: it could fill
the map by holding a page. Without a lock, a reader may miss a key while the writer is very busy, so it looks a second
time in a new transaction. The responder takes part in the lock (reader_lock.py). Readers never use a cursor.

The map is made from the books and may be lost at any time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import lmdb

from popauthd import file_marks
from popauthd.address import keys
from popauthd.errors import StoreBrokenError, StoreError
from popauthd.file_marks import Mark
from popauthd.store import disk_says
from popauthd.store.block import Block
from popauthd.store.map_size import grow, map_bytes
from popauthd.store.reader_lock import PLACES, ReaderLock, part_in

# Newer versions of lmdb import this module when they first open a file. By then the process may run as a user who
# cannot read the folder where lmdb is installed, so it is imported now.
with contextlib.suppress(ImportError):
    importlib.import_module("lmdb._envid")

MAP_BYTES = map_bytes(1 << 30)  # address space, not disk: 1 GiB holds some 8 million addresses
FILE_MODE = 0o640
EXPIRY_DIGITS = 12


def record(address: str, expires_at: int) -> bytes:
    """The stored value for an address."""
    return b"%d %s" % (expires_at, address.encode("ascii"))


def read_record(address: str, value: bytes) -> int | None:
    """The expiry in a stored value, or None if the value is not valid or is for another address."""
    expiry, _, owner = value.partition(b" ")
    if owner != address.encode("ascii") or not expiry.isdigit() or len(expiry) > EXPIRY_DIGITS:
        return None
    return int(expiry)


class MapFullError(StoreError):
    """The map has filled its address space."""


class MapWriter:
    """The only writer of the map. It does not sync to disk: the map is made anew from the books at every start.

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
            self._leave_no_half()
            self._env = lmdb.open(
                self.path,
                map_size=MAP_BYTES,
                subdir=False,
                mode=FILE_MODE,
                sync=False,
                metasync=False,
                max_readers=PLACES,
            )
            # The lock file gets the map's mode from LMDB; Exim's user has no business in it.
            Path(self._lock).chmod(0o600)
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"relay map {self.path}: cannot be opened: {disk_says.why(self.path, error)}") from error
        self._left = (file_marks.at(self.path), file_marks.at(self._lock))

    def _leave_no_half(self) -> None:
        """Take away a lock file without a map, or a map without a lock file: one would lie to readers of the other."""
        there = [path for path in (self.path, self._lock) if os.path.lexists(path)]
        if len(there) == 1:
            Path(there[0]).unlink()

    def lost(self) -> str:
        """What somebody else did to the file, or to LMDB's lock file beside it; "" for nothing.

        If a file was replaced, no reader would see what we write. If it was cut short, writing would end the process
        (SIGBUS). LIMIT: that can still happen between this look and a write; the next start makes the map anew.
        """
        if what := file_marks.difference(self._left[0], file_marks.at(self.path)):
            return what
        before, now = self._left[1], file_marks.at(self._lock)
        if before is None or now is None or (now.inode, now.size) != (before.inode, before.size):
            return "lost its lock file"  # its time says nothing: LMDB writes to it through memory
        return ""

    def remake(self, blocks: Iterable[Block]) -> int:
        """Put a new file with these entries in the place of one that was lost; returns the number of entries.

        After a StoreError the map is still lost.
        """
        self._give_up()
        try:
            for path in (self.path, self._lock):
                Path(path).unlink(missing_ok=True)  # not opened: a strange file can end the process
        except OSError as error:
            raise StoreError(f"relay map {self.path}: is in the way and cannot be removed: {error.strerror}") from error
        self._open()
        try:
            return self.replace(blocks)
        except StoreError:
            self._left = (None, None)
            raise

    def _give_up(self) -> None:
        """Close the file that was lost. Closing writes to the lock file, so that must first have its old size again."""
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
            if not grow(self._opened(), f"relay map {self.path}"):  # readers notice and open the map anew
                raise
            self._apply(changes, cleared=cleared)

    def _apply(self, changes: Mapping[str, int | None], *, cleared: bool) -> None:
        with self._writing() as txn:
            if cleared:
                txn.drop(self._opened().open_db(txn=txn), delete=False)
            records = []
            for address in sorted(changes):
                expires_at = changes[address]
                key = address.encode("ascii")
                if expires_at is None:
                    txn.delete(key)
                else:
                    records.append((key, b"%d %b" % (expires_at, key)))  # see `record`
            if records:
                with txn.cursor() as cursor:
                    cursor.putmulti(records)

    def replace(self, blocks: Iterable[Block]) -> int:
        """Make the map hold exactly these entries, in one transaction: readers see the old map or the new one.

        blocks: in the order of the addresses' bytes, as the books give them. Returns the number of entries.
        """
        number = 0
        with self._writing() as txn:
            txn.drop(self._opened().open_db(txn=txn), delete=False)
            with txn.cursor() as cursor:
                for block in blocks:
                    records = [(key, b"%s %s" % (expires_at, key)) for key, expires_at in block]
                    number += cursor.putmulti(records, append=True)[1]
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
            raise StoreError(f"relay map {self.path}: cannot be written: {disk_says.why(self.path, error)}") from error
        finally:
            self._remember()

    def _remember(self) -> None:
        """Note how we left the file. If it has been replaced meanwhile, nothing is noted, and `lost` tells of it."""
        before, now = self._left[0], file_marks.at(self.path)
        if before is not None and now is not None and (now.device, now.inode) == (before.device, before.inode):
            self._left = (now, self._left[1])

    def _opened(self) -> lmdb.Environment:
        if self._env is None:
            raise StoreError(f"relay map {self.path}: was lost, and is not made again yet")
        return self._env

    def oldest_reader(self) -> tuple[int, int]:
        """The process that reads an older commit than the newest, and which one; (0, 0) if nobody does.

        Only readers that take part in the lock are seen; one that has died is none.
        """
        if not self._behind()[0]:
            return 0, 0
        self.check_readers()
        return self._behind()

    def _behind(self) -> tuple[int, int]:
        newest = int(self._opened().info()["last_txnid"])
        rows = [line.split() for line in self._opened().readers().splitlines()[1:]]  # process, thread, commit
        reading = [(int(commit), int(process)) for process, _thread, commit in rows if commit != "-"]
        commit, process = min(reading, default=(newest, 0))
        return (process, commit) if commit < newest else (0, 0)

    def check_readers(self) -> int:
        """Free the slots of readers whose process has died; returns their number."""
        try:
            return int(self._opened().reader_check())
        except lmdb.Error as error:
            raise StoreError(f"relay map {self.path}: its readers cannot be looked at: {error}") from error

    def close(self) -> None:
        """Close the file."""
        if self._env is not None:
            self._env.close()
        self._env = None


class MapReader:
    """Reads the map, without a lock as Exim's side does, or with LMDB's. It notices if the file was replaced.

    lock: take part in LMDB's lock, where the writer has made one that is ours to write. `expiry` raises StoreError if
    the map is missing or cannot be read: the caller then answers "no".
    """

    def __init__(self, path: str, *, lock: bool = False) -> None:
        self.path = path
        self._wants_lock = lock
        self._lock: ReaderLock | None = None
        self._env: lmdb.Environment | None = None
        self._device = self._inode = 0
        self._checked_bytes = -1  # the size of the file that was found to hold all its pages
        self._page_bytes = 4096

    def open(self) -> None:
        """Open the map that is there now, so that a later look needs no new file descriptor. Raises StoreError.

        A lock that was not there when the map was opened is looked for again.
        """
        try:
            if self._wants_lock and self._lock is None and os.access(f"{self.path}-lock", os.W_OK):
                self.close()
            self._open()
        except (lmdb.Error, OSError) as error:
            raise self._trouble(error) from error

    def expiry(self, address: str) -> int | None:
        """The later of the expiries stored for a canonical address and for its /64; None if there is neither."""
        try:
            try:
                return self._look(self._open(), address)
            except lmdb.MapResizedError:  # it has outgrown our mapping; opening it anew maps all of it
                self.close()
                return self._look(self._open(), address)
        except (lmdb.Error, OSError) as error:
            raise self._trouble(error) from error

    def _look(self, env: lmdb.Environment, address: str) -> int | None:
        """One get a transaction; without a lock, what is not found is looked for a second time."""
        latest: int | None = None
        for key in keys(address):
            wanted = key.encode("ascii")
            for _look in range(2 if self._lock is None else 1):
                with env.begin() as txn:
                    value = txn.get(wanted)
                if value is not None and (expires_at := read_record(key, value)) is not None:
                    latest = expires_at if latest is None else max(latest, expires_at)
                    break
        return latest

    def state(self) -> tuple[object, ...]:
        """Which file the map is, and its last commit: equal as long as every look finds the same. Raises StoreError."""
        try:
            last = self._open().info()["last_txnid"]
        except (lmdb.Error, OSError) as error:
            raise self._trouble(error) from error
        return self._device, self._inode, last

    def _trouble(self, error: Exception) -> StoreError:
        # While the file is missing or cut short, the old one stays open. The next file may come when no descriptor is
        # free; and if we did not hold the old inode, the next file could get its number and look like the same file.
        if isinstance(error, lmdb.Error):
            self.close()
        return StoreError(f"relay map {self.path}: cannot be read: {error}")

    def _open(self) -> lmdb.Environment:
        if self._lock is not None and self._lock.cut_short():
            raise OSError("its lock file is cut short")
        status = os.stat(self.path)  # noqa: PTH116 - on the path of every lookup
        if self._env is None or status.st_ino != self._inode or status.st_dev != self._device:
            self.close()
            self._env = self._opened(status)
        # If the file was cut short, the first page that is gone would end the process (SIGBUS). The number of pages
        # cannot have grown while the size has not, so it is asked for only when the size is another.
        if status.st_size != self._checked_bytes:
            self._check(status.st_size)
        return self._env

    def _opened(self, status: os.stat_result) -> lmdb.Environment:
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a file")  # opening a pipe would never end
        with contextlib.ExitStack() as undo:
            lock = part_in(f"{self.path}-lock") if self._wants_lock else None
            if lock is not None:
                undo.callback(lock.close)
            try:
                env = self._environment(lock=lock is not None)
            except lmdb.VersionMismatchError:  # the writer was started with another LMDB, before an upgrade
                if lock is None:
                    raise
                undo.pop_all().close()
                lock, env = None, self._environment(lock=False)
            undo.callback(env.close)
            # If the map has been replaced meanwhile, lock and map may not belong together.
            now = os.stat(self.path)  # noqa: PTH116
            if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
                raise OSError("it was replaced while it was opened")
            if lock is not None:
                env.reader_check()  # those who were killed leave their places taken
            undo.pop_all()
        self._lock = lock
        self._device, self._inode = status.st_dev, status.st_ino
        self._page_bytes = env.stat()["psize"]
        return env

    def _environment(self, *, lock: bool) -> lmdb.Environment:
        return lmdb.open(
            self.path,
            subdir=False,
            readonly=True,
            lock=lock,
            create=False,
            map_size=MAP_BYTES,
            max_readers=PLACES,
            mode=0o600,
        )

    def _check(self, size: int) -> None:
        """Raise OSError if the file is smaller than its pages.

        The two header pages are checked first, because reading the number of pages touches them. A size that is too
        small is asked for again, because the writer may have added pages meanwhile.
        """
        assert self._env is not None
        needed = 2 * self._page_bytes
        if size >= needed:
            needed = (int(self._env.info()["last_pgno"]) + 1) * self._page_bytes
        if size >= needed:
            self._checked_bytes = size
        elif os.stat(self.path).st_size < needed:  # noqa: PTH116
            raise OSError(f"the file is cut short at {size} bytes")

    def close(self) -> None:
        """Forget the open file; the next look opens it again."""
        if self._env is not None:
            if self._lock is not None:
                self._lock.mend()
            with contextlib.suppress(lmdb.Error):
                self._env.close()
        if self._lock is not None:
            self._lock.close()
        self._env = self._lock = None
        self._checked_bytes = -1
