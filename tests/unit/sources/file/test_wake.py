"""The waker on real directories with the real watchdog: each event of a log wakes, others do not."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from popauthd.mounts import is_mount_point
from popauthd.sources.file.wake import LogEvents, Waker
from tests.support.helpers import eventually, no_descriptor_left

PATIENCE = 60.0  # seconds until an event that does not come is a failure; never waited for otherwise


class Bell:
    """Counts wake-ups and lets a test wait for the next one."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    @property
    def rung(self) -> bool:
        return self._rung.is_set()

    def ring(self) -> None:
        self._rung.set()

    def clear(self) -> None:
        self._rung.clear()

    def wait(self) -> bool:
        rung = self._rung.wait(PATIENCE)
        self._rung.clear()
        return rung


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    directory.mkdir()
    return directory / "mail.log"


@pytest.fixture
def waker(log: Path, bell: Bell) -> Iterator[Waker]:
    waker = Waker([str(log)], bell.ring)
    waker.start()
    bell.clear()
    yield waker
    waker.stop()


def append(path: Path, data: bytes = b"line\n") -> None:
    with path.open("ab") as log:
        log.write(data)


@pytest.fixture
def vanishing(tmp_path: Path) -> Iterator[Path]:
    """A link that is there when it is looked at, and gone when it is read: as when it is taken away in between."""
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        link = tmp_path / "vanishing.log"
        link.symlink_to(f"/proc/{ended.pid}/exe")
        yield link


def test_a_link_that_vanishes_while_it_is_looked_at_is_no_trouble(vanishing: Path, log: Path, bell: Bell) -> None:
    waker = Waker([str(vanishing), str(log)], bell.ring)
    waker.start()
    try:
        assert waker.tend()
        bell.clear()
        append(log)
        assert bell.wait(), "the other log is watched"
    finally:
        waker.stop()
    assert not is_mount_point(str(vanishing))


@pytest.mark.usefixtures("waker")
def test_writing_renaming_and_creating_a_log_each_wake(log: Path, bell: Bell) -> None:
    append(log)
    assert bell.wait()
    log.rename(log.with_name("mail.log.1"))
    assert bell.wait()
    append(log)
    assert bell.wait()
    append(log.with_name("mail.log.1"))
    assert bell.wait()


EVENTS = [
    ("modified", "mail.log", True),
    ("moved", "mail.log", True),
    ("created", "mail.log.2.gz", True),
    ("created", "mail-20261123.log", True),
    ("deleted", "mail.log", True),
    ("opened", "mail.log", False),
    ("closed_no_write", "mail.log", False),
    ("modified", "auth.log", False),
    ("modified", "", False),
]


@pytest.mark.parametrize(("kind", "name", "wakes"), EVENTS)
def test_only_what_changes_a_log_wakes(kind: str, name: str, wakes: bool) -> None:
    woken: list[bool] = []
    event = SimpleNamespace(event_type=kind, src_path=f"/var/log/{name}")
    LogEvents(frozenset({"mail"}), lambda: woken.append(True)).dispatch(event)
    assert bool(woken) is wakes


def test_a_directory_that_is_made_again_is_watched_again(log: Path, waker: Waker, bell: Bell) -> None:
    append(log)
    assert bell.wait()
    log.unlink()
    log.parent.rmdir()
    waker.tend()
    log.parent.mkdir()
    eventually(waker.tend, "the new directory is watched")  # the observer learns of the end of the old one by and by
    bell.clear()
    append(log)
    assert bell.wait()


def test_a_directory_that_does_not_exist_yet_is_watched_when_it_does(tmp_path: Path, bell: Bell) -> None:
    log = tmp_path / "later" / "mail.log"
    waker = Waker([str(log)], bell.ring)
    waker.start()
    waker.tend()
    log.parent.mkdir()
    assert waker.tend()
    bell.clear()
    append(log)
    assert bell.wait()
    waker.stop()


def test_nothing_wakes_while_it_rests_and_what_happened_meanwhile_wakes_then(
    log: Path, waker: Waker, bell: Bell
) -> None:
    append(log)
    assert bell.wait()
    waker.rest()
    waker.rest()
    bell.clear()
    append(log)
    log.rename(log.with_name("mail.log.1"))
    assert not bell.rung
    assert waker.tend()
    assert bell.wait()
    bell.clear()
    append(log)
    assert bell.wait()


def test_tries_that_failed_leave_nothing_behind(log: Path, waker: Waker, bell: Bell) -> None:
    log.parent.rename(log.parent.with_name("old"))
    assert waker.tend()
    log.parent.mkdir()
    with no_descriptor_left():
        for _ in range(5):
            waker.tend()  # watchdog 7 needs no descriptor for one more directory, and others fail
    assert waker.tend()
    assert bell.wait()
    assert [len(handlers) for handlers in waker._observer._handlers.values()] == [1]
    append(log)
    assert bell.wait()


def test_where_no_log_is_a_file_nothing_is_unwatched() -> None:
    assert Waker([], lambda: None).tend()


def test_nothing_wakes_after_stop_and_stopping_twice_is_harmless(log: Path, bell: Bell) -> None:
    waker = Waker([str(log)], bell.ring)
    waker.stop()
    waker.start()
    waker.stop()
    waker.stop()
    assert not waker.tend()


def test_a_log_behind_a_link_wakes(tmp_path: Path, log: Path, bell: Bell) -> None:
    link = tmp_path / "linked.log"
    link.symlink_to(log)
    waker = Waker([str(link)], bell.ring)
    waker.start()
    bell.clear()
    append(log)
    assert bell.wait()
    waker.stop()


def test_a_thread_of_watchdog_that_dies_is_told_in_a_line_and_watching_begins_anew(
    log: Path, bell: Bell, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its inotify thread can die of an event that comes while a watch is removed (watchdog 2.2)."""
    failures = [KeyError(1)]

    def wake() -> None:
        bell.ring()
        if threading.current_thread() is not threading.main_thread() and failures:
            raise failures.pop()

    hook = threading.excepthook
    waker = Waker([str(log)], wake)
    waker.start()
    append(log)
    eventually(lambda: "KeyError" in caplog.text, "the failure is logged")
    eventually(waker.tend, "the directory is watched again")
    bell.clear()
    append(log)
    assert bell.wait()
    waker.stop()
    assert not failures
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Traceback" not in caplog.text + capsys.readouterr().err
    assert threading.excepthook is hook


def test_a_thread_of_somebody_else_that_dies_is_told_as_ever(log: Path, bell: Bell) -> None:
    told: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, told.append
    try:
        waker = Waker([str(log)], bell.ring)
        waker.start()
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()
        waker.stop()
    finally:
        threading.excepthook = before
    assert [failure.exc_type for failure in told] == [ZeroDivisionError]
