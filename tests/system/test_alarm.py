"""A real watcher whose log is mostly not understood: it says so with a sample, and loses no login by that."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd

pytestmark = pytest.mark.system


def line(pid: int, text: str) -> str:
    return f"{time.strftime('%b %d %H:%M:%S')} mail popa3d[{pid}]: {text}\n"


def test_an_honest_login_beside_an_alarm_is_granted(tmp_path: Path) -> None:
    """Its first line stands in the block that the alarm takes its sample from, behind a bad line of its process."""
    log = tmp_path / "mail.log"
    log.write_text("")
    with Place() as place:
        popauthd = Popauthd(place, log)
        popauthd.config.write_text(popauthd.config.read_text() + 'framing = "syslog"\nformats = ["popa3d"]\n')
        popauthd.start("run")
        bad = "Authentication passed for alice in a new form"
        with log.open("a") as file:
            file.write("".join(line(7, bad) for _ in range(9)) + line(7, "Session from 192.0.2.7"))
        told: list[str] = []

        def alarmed() -> bool:
            conditions = json.loads(popauthd.control("status", "--json").stdout)["conditions"]
            told[:] = [one["evidence"] for one in conditions if one["word"] == "login-not-understood"]
            return bool(told)

        wait_for(alarmed, "the alarm")
        assert "not understood" in told[0]
        assert f"Sample: {line(7, bad)[:6]}" in told[0]
        assert bad in told[0]
        with log.open("a") as file:
            file.write(line(7, "Authentication passed for alice"))
        wait_for(lambda: popauthd.may_relay("192.0.2.7"), "the login to be granted")
