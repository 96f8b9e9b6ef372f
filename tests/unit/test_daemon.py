"""popauthd.daemon: signals as flags, and the exit codes of the command. The loops run in tests/system."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import __version__
from popauthd.daemon import Signals, main
from tests.support.helpers import ROOT

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in HANDLED}
    made = Signals()
    yield made
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def readable(signals: Signals) -> bool:
    return bool(select.select([signals.reader], [], [], 0)[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_is_a_flag_and_wakes(signals: Signals, number: signal.Signals) -> None:
    assert (signals.stopped(), readable(signals)) == (False, False)
    signal.raise_signal(number)
    assert (signals.stopped(), readable(signals), signals.take_reload()) == (True, True, False)


def test_a_hangup_asks_once_for_the_configuration_to_be_read(signals: Signals) -> None:
    signal.raise_signal(signal.SIGHUP)
    assert [signals.take_reload(), signals.take_reload(), signals.stopped()] == [True, False, False]


def test_another_thread_can_wake_the_loop_and_what_woke_it_is_taken(signals: Signals) -> None:
    def wake() -> None:
        for _ in range(100_000):  # more than a pipe holds
            signals.wake()

    waking = threading.Thread(target=wake)
    waking.start()
    waking.join()
    assert readable(signals)
    signals.drain()
    assert not readable(signals)


def test_what_wakes_before_it_is_heeded_wakes_once(signals: Signals) -> None:
    signals.wake()
    signals.drain()
    signals.wake()
    assert not readable(signals)
    signals.heed()
    signals.wake()
    assert readable(signals)


def started(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "popauthd", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("part", ["watch", "respond", "run"])
def test_a_wrong_configuration_ends_with_78_and_names_what_is_wrong(tmp_path: Path, part: str) -> None:
    wrong = tmp_path / "popauthd.toml"
    wrong.write_text('lifetyme = "15m"\n')
    done = started("--config", wrong, part)
    assert done.returncode == 78
    assert f'popauthd-{part}: ERROR: {wrong}: key "lifetyme": unknown; did you mean "lifetime"?' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_directory_that_cannot_be_ends_it_with_its_own_code(tmp_path: Path) -> None:
    config = tmp_path / "popauthd.toml"
    (tmp_path / "file").touch()
    config.write_text(f'run_dir = "{tmp_path}/file/run"\nstate_dir = "{tmp_path}/state"\n')
    done = started("--config", config, "respond")
    assert done.returncode == 78
    assert f"run_dir {tmp_path}/file/run: cannot be made" in done.stderr


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"popauthd {__version__}\n"


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2  # argparse
    assert "invalid choice: 'dance'" in capsys.readouterr().err
