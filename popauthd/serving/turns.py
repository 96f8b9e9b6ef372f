"""One turn of a loop over a selector whose data are functions to call."""

from __future__ import annotations

import selectors


def call_ready(selector: selectors.BaseSelector, seconds: float) -> bool:
    """Wait `seconds` at most, then call the data of all that is ready; whether anything was.

    What was called before in this turn may have taken out others that were ready, or closed them: a client that makes
    room for another, a listener that a reload ends. They are not called any more.
    """
    ready = selector.select(seconds)
    for key, _events in ready:
        if _still_there(selector, key):
            key.data()
    return bool(ready)


def _still_there(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> bool:
    try:
        return selector.get_key(key.fileobj) is key
    except (KeyError, ValueError):  # ValueError: a socket that is closed has no number to be found by
        return False
