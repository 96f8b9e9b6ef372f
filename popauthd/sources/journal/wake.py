"""The descriptor that wakes the watcher when the journal changed."""

from __future__ import annotations

import select


class WakeDescriptor:
    """One descriptor for all readers that are opened one after the other; the same until it is closed.

    LIMIT: late by a quarter of a second or more (POST_CHANGE_TIMER_INTERVAL_USEC in systemd's
    journal-file.h), though what was written can be read at once: a caller in a hurry asks `JournalSource.unread`.
    """

    def __init__(self) -> None:
        self._poll = select.epoll()

    def open_again(self) -> None:
        """Make a new descriptor if it was closed."""
        if self._poll.closed:
            self._poll = select.epoll()

    def watch(self, reader_descriptor: int) -> None:
        """Wake for this reader's changes too, until its descriptor is closed."""
        # Edge-triggered: a daemon that cannot read on now must not be woken for the same change again.
        self._poll.register(reader_descriptor, select.EPOLLIN | select.EPOLLET)

    def fileno(self) -> int | None:
        """The descriptor; None when closed."""
        return None if self._poll.closed else self._poll.fileno()

    def clear(self) -> None:
        """Make it no longer readable. What changed is found out by reading the journal."""
        self._poll.poll(0)

    def close(self) -> None:
        """Close the descriptor."""
        self._poll.close()
