"""Schema 3 to 4: an entry of `old` or `due` may be earlier than the expiry that it is for.

In schema 3 each entry stood at its expiry, which is as good. Code of schema 3 would end what stands by an entry that is
too early, so the schema has another number.
"""

from __future__ import annotations

from collections.abc import Mapping

import lmdb


def migrate(txn: lmdb.Transaction, databases: Mapping[str, lmdb._Database]) -> None:
    """Nothing is to be changed."""
