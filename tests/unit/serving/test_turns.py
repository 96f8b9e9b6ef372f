"""popauthd.serving.turns: one turn of a loop calls whoever is ready and still there."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable, Iterator

import pytest

from popauthd.serving.turns import call_ready

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def pairs() -> Iterator[Callable[[], Pair]]:
    with contextlib.ExitStack() as stack:

        def pair() -> Pair:
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            stack.callback(theirs.close)
            return ours, theirs

        yield pair


def test_whoever_is_ready_is_called_and_nobody_else(
    selector: selectors.BaseSelector, pairs: Callable[[], Pair]
) -> None:
    called: list[str] = []
    (first, speaks), (second, _silent) = pairs(), pairs()
    selector.register(first, selectors.EVENT_READ, lambda: called.append("first"))
    selector.register(second, selectors.EVENT_READ, lambda: called.append("second"))
    assert not call_ready(selector, 0)
    assert called == []
    speaks.send(b"x")
    assert call_ready(selector, 1)
    assert called == ["first"]


@pytest.mark.parametrize("way", ["closed", "taken out", "closed, and its number is another's"])
def test_who_goes_in_a_turn_is_not_called_in_it(
    selector: selectors.BaseSelector, pairs: Callable[[], Pair], way: str
) -> None:
    called: list[str] = []
    clients = [pairs() for _ in range(2)]
    another = pairs()[0]

    def heard(this: int) -> Callable[[], None]:
        def hear() -> None:
            called.append("client")
            ours = clients[1 - this][0]
            selector.unregister(ours)
            if way == "closed":
                ours.close()
            elif way != "taken out":
                number = ours.detach()
                os.dup2(another.fileno(), number)
                clients[1 - this] = socket.socket(fileno=number), clients[1 - this][1]
                selector.register(number, selectors.EVENT_READ, lambda: called.append("another"))

        return hear

    for number, (ours, theirs) in enumerate(clients):
        selector.register(ours, selectors.EVENT_READ, heard(number))
        theirs.send(b"x")
    call_ready(selector, 1)
    assert called == ["client"]
    for ours, _theirs in clients:
        ours.close()
