"""Whether clients reach Debian's Exim and their mail goes on from it, for each kind that exim4-config offers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from popauthd.eximsetup.commands import Exim
from popauthd.eximsetup.listening import daemon
from popauthd.eximsetup.reach import NOWHERE, ROUTED, UNPROVEN, hindrances, route
from tests.servers.exim import Exim as Running
from tests.servers.place import Place
from tests.support.debian_exim import Debian, relocated

pytestmark = pytest.mark.system

NOW = 1_795_467_600
AS_IT_COMES = "dc_local_interfaces='127.0.0.1 ; ::1'"
OPEN = "dc_local_interfaces=''"


@pytest.fixture(scope="module")
def debian() -> Iterator[Debian]:
    with Place() as place:
        yield relocated(place, "light", False)


def configured(debian: Debian, kind: str, *settings: str) -> Exim:
    """Debian's Exim after `dpkg-reconfigure exim4-config`."""
    file = debian.root / "exim4/update-exim4.conf.conf"
    before = file.read_text()
    file.write_text(before.replace("='internet'", f"='{kind}'") + "\n".join(settings) + "\n")
    try:
        debian.generate()
    finally:
        file.write_text(before)
    return Exim(debian.binary, debian.config)


KINDS = [
    ("as it comes", "local", (AS_IT_COMES,), {NOWHERE}, ["exim-loopback", "exim-no-route"]),
    ("local delivery", "local", (OPEN,), {NOWHERE}, ["exim-no-route"]),
    ("no kind", "none", (OPEN,), {NOWHERE}, ["exim-no-route"]),
    ("a smarthost", "smarthost", (OPEN, "dc_smarthost='192.0.2.77'"), {ROUTED}, []),
    ("behind something else", "smarthost", (AS_IT_COMES, "dc_smarthost='192.0.2.77'"), {ROUTED}, ["exim-loopback"]),
    # With name servers, or without.
    ("an internet site", "internet", (OPEN,), {ROUTED, UNPROVEN}, []),
]


@pytest.mark.parametrize(
    ("kind", "settings", "states", "words"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS]
)
def test_what_keeps_mail_from_going_out_is_told(
    debian: Debian, kind: str, settings: tuple[str, ...], states: set[str], words: list[str]
) -> None:
    exim = configured(debian, kind, *settings)
    assert route(exim).state in states
    found = hindrances(exim, NOW)
    assert [one.word for one in found] == words
    assert all("dpkg-reconfigure exim4-config" in one.advice for one in found)


def test_the_refusal_of_debians_exim_is_told_in_its_own_words(debian: Debian) -> None:
    (found,) = hindrances(configured(debian, "local", OPEN), NOW)
    assert "Mailing to remote domains not supported" in found.text


def test_a_running_exim_is_found_by_where_it_listens_and_no_other_is_taken_for_it(debian: Debian) -> None:
    with Place() as place:
        running = Running(place, "light", "", place.directory("run"))
        exim = Exim(running.binary, running.config)
        found = daemon(exim)
        assert found is not None
        assert (found.pid, [str(port) for port in found.ports]) == (
            running.server.pid,
            [f"127.0.0.1:{running.port}", f"[::1]:{running.port}"],
        )
        assert not running.config.with_name("exim.pid").exists()
        (hindrance,) = hindrances(exim, NOW)
        assert hindrance.text == f"Exim listens on 127.0.0.1:{running.port}, [::1]:{running.port} alone"
        assert daemon(Exim(debian.binary, debian.config)) is None
        running.server.stop()
        assert daemon(exim) is None
