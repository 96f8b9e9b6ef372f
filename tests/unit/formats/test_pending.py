"""Logins of two lines: linked by process, used once, aged, bounded, and lost with the process."""

from __future__ import annotations

from popauthd.formats.options import Options
from popauthd.formats.pending import LINK_SECONDS, REMEMBERED
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Event, Ignored, Login, Refusal
from tests.support.corpus_samples import NOW

READING = Options("syslog", formats=("popa3d", "solid-pop3d", "vm-pop3d"), timezone="UTC")


def line(second: int, pid: int, text: str, host: str = "h", program: str = "popa3d") -> bytes:
    """A syslog line, `second` seconds after 20:00:00."""
    minute, second = divmod(second, 60)
    return f"Nov 23 20:{minute:02}:{second:02} {host} {program}[{pid}]: {text}".encode()


def came(pid: int, address: str = "192.0.2.1", second: int = 0) -> bytes:
    return line(second, pid, f"Session from {address}")


def passed(pid: int, second: int = 0) -> bytes:
    return line(second, pid, "Authentication passed for alice")


def last(*lines: bytes) -> Event:
    """What the last of some lines comes to, read by one recogniser."""
    reader = Recogniser(READING)
    return [reader.line(raw, NOW) for raw in lines][-1]


def reason(event: Event) -> str:
    assert isinstance(event, Refusal | Ignored)
    return event.reason


def test_the_second_line_grants_the_address_of_the_first_at_its_own_time() -> None:
    event = last(came(7, second=0), passed(7, second=5))
    assert event == Login(NOW - 3610 + 5, "192.0.2.1", "alice", "pop3", format="popa3d")


def test_a_link_is_used_once() -> None:
    assert reason(last(came(7), passed(7), passed(7))) == "no-link"


def test_a_process_id_that_comes_again_has_the_newer_address() -> None:
    event = last(came(7), came(7, "192.0.2.2", 1), passed(7, 1))
    assert isinstance(event, Login)
    assert event.address == "192.0.2.2"


def test_a_link_ages() -> None:
    assert isinstance(last(came(7), passed(7, LINK_SECONDS)), Login)
    assert reason(last(came(7), passed(7, LINK_SECONDS + 1))) == "no-link"


def test_a_second_line_before_its_first_links_nothing() -> None:
    assert reason(last(came(7, second=5), passed(7, second=4))) == "no-link"


def test_another_host_another_program_and_another_process_link_nothing() -> None:
    for other in (
        line(0, 7, "Authentication passed for alice", host="i"),
        line(0, 8, "Authentication passed for alice"),
        line(0, 7, "user alice authenticated", program="solid-pop3d"),
    ):
        assert reason(last(came(7), other)) == "no-link"


def test_the_two_names_of_one_program_link_nothing() -> None:
    first = line(0, 7, "connect from 192.0.2.1", program="spop3d")
    second = line(0, 7, "user alice authenticated", program="solid-pop3d")
    assert reason(last(first, second)) == "no-link"


def test_a_restart_between_the_two_lines_grants_nothing() -> None:
    assert reason(Recogniser(READING).line(came(7), NOW)) == "first-half"
    assert reason(Recogniser(READING).line(passed(7), NOW)) == "no-link"


def test_the_two_lines_link_across_blocks() -> None:
    reader = Recogniser(READING)
    assert reader.block(came(7) + b"\n", NOW) == ([], 1)
    events, _ = reader.block(passed(7) + b"\n", NOW)
    assert [type(event) for event in events] == [Login]


def test_a_flood_of_connections_loses_the_oldest_and_keeps_memory_bounded() -> None:
    reader = Recogniser(READING)
    for pid in range(REMEMBERED + 1):
        reader.line(came(pid), NOW)
    assert len(reader.links) == REMEMBERED
    assert reason(reader.line(passed(0), NOW)) == "no-link"
    assert isinstance(reader.line(passed(1), NOW), Login)


def test_a_first_line_without_a_time_links_nothing() -> None:
    bad = came(7).replace(b"Nov 23", b"Nov 31")
    assert reason(last(bad, passed(7))) == "no-link"


def test_the_lines_that_were_refused_are_kept_and_none_is_read_again() -> None:
    """A line of the same process that is refused takes its link away: read again, it would take the next one's."""
    reader = Recogniser(READING)
    torn = passed(7) + b" and more"
    reader.block(torn + b"\n" + torn + b"!\n" + came(7) + b"\n" + passed(8) + b"\n", NOW)
    assert reader.refused == {"bad-elements": torn, "no-link": passed(8)}
    assert isinstance(reader.block(passed(7) + b"\n", NOW)[0][0], Login)
    assert reader.refused == {}


def test_one_line_that_names_another_address_than_the_first_line_is_refused() -> None:
    """It may be the second line of two, of a user who calls himself as the one line goes on."""
    one = line(0, 7, "Authentication passed for alice -- [192.0.2.1]")
    assert isinstance(last(came(7), one), Login)
    assert isinstance(last(came(7, "::ffff:192.0.2.1"), one), Login), "the same address"
    assert reason(last(came(7, "192.0.2.2"), one)) == "ambiguous"
    assert isinstance(last(came(8, "192.0.2.2"), one), Login), "another process"
    assert reason(last(came(7), one, passed(7))) == "no-link", "the first line is used up"
