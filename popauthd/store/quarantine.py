"""Looks at the LMDB files before they are opened, and moves a damaged one aside.

A damaged file can end the process that maps it (SIGBUS if it was cut short, SIGSEGV if its pages are random bytes).
So a child process opens it first and reads it through. A damaged file is renamed and kept (the newest KEEP of them),
and a new one is made: the books from the log, the map from the books.

A file counts as damaged if the child dies of SIGSEGV or SIGBUS, if LMDB calls it corrupted or stops at an assertion, if
it is empty, or if it holds something else. Any other reason why the child cannot read it (a signal, a time-out, no
memory, no right) says nothing about the file. Then nothing is moved, and the start fails with StoreError and is tried
again. Books without any of our databases, or of an older schema, are older books: `Books` brings them up to date.

Reading a million grants through takes a second. So a watcher that ends as it should notes what its files are (`leave`),
and the next one takes a file that is still the same for whole. The note is taken away before the file is opened: a
watcher that the file ends all the same leaves none, and the next one reads it through.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from popauthd import file_marks
from popauthd.durable import sync_directory
from popauthd.errors import Stopped, StoreError, StoreNewerError
from popauthd.store.map_size import map_bytes
from popauthd.text import safe

log = logging.getLogger("popauthd.watch")

KEEP = 3
NOTE = ".whole"  # ends the name of the note beside a file
PROBE_SECONDS = 240  # below TimeoutStartSec= of popauthd.service
OLDEST_SCHEMA = 2  # the oldest one of a released version
LOOK_SECONDS = 0.05  # how often we look whether this process is told to stop
OUR_STOP_SECONDS = 1.0
DAMAGE = {signal.SIGSEGV, signal.SIGBUS}
ASSERTION = b"Assertion '"  # LMDB (mdb_assert_fail) prints this before SIGABRT, when its pages contradict each other
# Reads every record of every database in the file. Prints whether the file is whole, and its schema or the damage.
_CHILD = """
import collections, contextlib, itertools, json, os, sys
import lmdb

path, names, map_size, parent = sys.argv[1], sys.argv[2].split(), int(sys.argv[3]), int(sys.argv[4])


def read_through(cursor):
    rows = iter(cursor)
    while collections.deque(itertools.islice(rows, 10000), 1):
        if os.getppid() != parent:
            sys.exit("nobody waits for the answer")


def look(env, txn):
    if not names:
        read_through(txn.cursor())
        return True, ""
    schema, ours = b"", 0
    for name in names:
        try:
            database = env.open_db(name.encode(), txn=txn, create=False)
        except lmdb.NotFoundError:
            continue
        ours += 1
        read_through(txn.cursor(db=database))
        if name == "meta":
            schema = bytes(txn.get(b"schema", b"", db=database))
    if not ours and txn.stat(env.open_db(txn=txn))["entries"]:
        return False, "it holds something else"
    if schema and not schema.isdigit():
        return False, "its schema is no number"
    return True, schema.decode("ascii")


try:
    with lmdb.open(path, subdir=False, readonly=True, lock=False, max_dbs=len(names) + 1, map_size=map_size) as env:
        with env.begin() as txn:
            answer = look(env, txn)
        # Also reads the list of free pages, as a writer does and no cursor. Pages that nobody knows are no damage.
        with open(os.devnull, "wb") as nowhere, contextlib.suppress(lmdb.IncompatibleError):
            env.copyfd(nowhere.fileno(), compact=True)
except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError) as error:
    answer = False, str(error)
except lmdb.IncompatibleError:
    answer = False, "it holds something else"
print(json.dumps(answer))
"""


def _never() -> bool:
    return False


def probe(path: str, databases: tuple[str, ...] = (), stopped: Callable[[], bool] = _never) -> tuple[bool, str]:
    """Read an LMDB file through in a child process: (True, its schema or "") or (False, what is damaged).

    Raises StoreError if the file cannot be read now for another reason, and Stopped as soon as `stopped()` is true.
    """
    arguments = [path, " ".join(databases), str(map_bytes(1 << 33)), str(os.getpid())]
    status, out, err = _ask([sys.executable, "-I", "-c", _CHILD, *arguments], path, stopped)
    if stopped():
        raise Stopped
    if status == 0:
        whole, said = json.loads(out)
        return bool(whole), str(said)
    if -status in DAMAGE or (-status == signal.SIGABRT and ASSERTION in err):
        return False, f"reading it ended the process with signal {-status}"
    if status > 0:
        why = safe(err.decode("utf-8", "replace").strip().rpartition("\n")[2], 200)
    else:
        _wait_for_our_stop(stopped)
        why = f"reading it was ended by signal {-status}"
    raise _not_now(path, why)


def _ask(command: list[str], path: str, stopped: Callable[[], bool]) -> tuple[int, bytes, bytes]:
    """Run the child to its end; returns status, output and errors. It has its own session, out of Ctrl-C's reach."""
    until = time.monotonic() + PROBE_SECONDS
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise _not_now(path, f"python cannot be started: {error.strerror}") from error
    with child:
        try:
            while not stopped():
                try:
                    out, err = child.communicate(timeout=LOOK_SECONDS)
                except subprocess.TimeoutExpired as error:
                    if time.monotonic() > until:
                        raise _not_now(path, f"reading it took more than {PROBE_SECONDS} s") from error
                else:
                    return child.returncode, out, err
        finally:
            child.kill()
    raise Stopped


def _wait_for_our_stop(stopped: Callable[[], bool]) -> None:
    """Wait a moment for our own signal: systemd stops all processes of a unit one by one, perhaps the child first."""
    until = time.monotonic() + OUR_STOP_SECONDS
    while time.monotonic() < until:
        if stopped():
            raise Stopped
        time.sleep(LOOK_SECONDS)


def _not_now(path: str, why: str) -> StoreError:
    return StoreError(
        f"{path}: cannot be looked at now: {why}; nothing was moved, and the watcher does not start without it. "
        "If that stays so, move the file away"
    )


def move_aside(path: str, why: str) -> str:
    """Rename a damaged file, keep only the newest few of such files, and log it; returns the new name."""
    file = Path(path)
    aside = file.with_name(f"{file.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.monotonic_ns() % 1000:03d}")
    try:
        file.rename(aside)
        Path(f"{path}-lock").unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} is damaged ({why}) and cannot be moved aside: {error.strerror}") from error
    for old in sorted(file.parent.glob(f"{file.name}.damaged-*"))[:-KEEP]:
        with contextlib.suppress(OSError):
            old.unlink()
    log.warning("damaged file moved aside path=%s kept=%s: %s", path, aside, why)
    return str(aside)


def heal(path: str, databases: tuple[str, ...] = (), schema: str = "", stopped: Callable[[], bool] = _never) -> str:
    """Make sure that `path` can be opened: that it is absent, or whole and of a schema that we know.

    Returns what was done, as a sentence; "" for nothing. databases, schema: those of today's books; none for the map.
    stopped: whether this process is told to stop. Raises StoreNewerError for a newer schema, because an older popauthd
    must not throw away what a newer one has stored; StoreError if the file cannot be read now; and Stopped.
    """
    file = Path(path)
    try:
        status = file.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            file.unlink()
            return f"{path} was empty"
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _not_now(path, str(error.strerror)) from error
    if _taken_note(path) == _note(schema, status):
        return ""
    if stat.S_ISREG(status.st_mode):
        whole, said = probe(path, databases, stopped)
    else:  # opening it might never end
        whole, said = False, "it is not a file"
    if not whole:
        what = f"damaged ({said.removeprefix(f'{path}: ')})"
        return _made_anew(path, what, move_aside(path, said), books=bool(schema))
    if not schema or not said:  # a map; or books that were being made when their watcher was killed
        return ""
    if int(said) > int(schema):
        raise StoreNewerError(
            f"{path} was written by a newer popauthd (schema {said}, this one knows {schema}); "
            "install that version again, or move the file away to start from the log"
        )
    if int(said) < OLDEST_SCHEMA:
        why = f"schema {said} is older than any that was released"
        return _made_anew(path, f"of no use ({why})", move_aside(path, why), books=True)
    return ""


def leave(path: str, schema: str = "") -> None:
    """Note that the file is whole as it is now; it must not be written any more. Without a note it is read through."""
    note = Path(f"{path}{NOTE}")
    with contextlib.suppress(OSError):
        note.unlink(missing_ok=True)
        with note.open("x", encoding="ascii") as file:
            file.write(_note(schema, Path(path).stat()))


def _note(schema: str, status: os.stat_result) -> str:
    return f"{schema} {file_marks.of(status)}"


def _taken_note(path: str) -> str:
    """The note that was left of a file, which is taken away; "" if there is none, or if it cannot be taken away."""
    note = Path(f"{path}{NOTE}")
    try:
        text = note.read_text(encoding="ascii") if note.is_file() else ""
        note.unlink(missing_ok=True)
        sync_directory(note.parent)
    except (OSError, ValueError):
        return ""
    return text


def _made_anew(path: str, what: str, kept: str, *, books: bool) -> str:
    """A sentence that says what happened to a file, and what that means."""
    meaning = "; the logins are read from the log again, grants by hand are lost" if books else ""
    return f"{path} was {what} and is made anew{meaning}; the old file is kept as {kept}"
