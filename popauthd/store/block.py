"""Many entries at once, as the books store them and as relay map and host list take them: there may be a million."""

from __future__ import annotations

from collections.abc import Sequence

Block = Sequence[tuple[bytes, bytes]]  # keys with their values, such as addresses with their expiries, in text
ROWS = 1000  # in a block; more are slower, as they do not fit the processor's cache
