"""The descriptor that wakes, on pipes in place of the journal."""

from __future__ import annotations

import os
import select

from popauthd.sources.journal.wake import WakeDescriptor


def readable(wake: WakeDescriptor) -> bool:
    poll = select.poll()
    poll.register(wake.fileno() or -1, select.POLLIN)
    return bool(poll.poll(0))


def test_it_wakes_once_for_a_change_though_nobody_reads_it() -> None:
    wake = WakeDescriptor()
    first, second = os.pipe(), os.pipe()
    wake.watch(first[0])
    wake.watch(second[0])
    for writing in (first[1], second[1]):
        assert not readable(wake)
        os.write(writing, b"x")
        assert readable(wake)
        wake.clear()
    assert not readable(wake)
    wake.close()
    for descriptor in (*first, *second):
        os.close(descriptor)


def test_it_is_the_same_until_it_is_closed_and_can_be_made_again() -> None:
    wake = WakeDescriptor()
    descriptor = wake.fileno()
    wake.open_again()
    assert wake.fileno() == descriptor
    wake.close()
    assert wake.fileno() is None
    wake.open_again()
    assert wake.fileno() is not None
    wake.close()
