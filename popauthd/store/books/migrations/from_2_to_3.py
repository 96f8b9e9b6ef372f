"""Schema 2 to 3: logins hold more facts and are found by user; users are revoked in upper and lower case alike.

In schema 2 a login was `login_at expires_at format NUL user`. Its protocol, mechanism and TLS are not known; it was
judged by the limits of its time. The lifetime is taken from the login that stands for the shortest time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import lmdb


def migrate(txn: lmdb.Transaction, databases: Mapping[str, lmdb._Database]) -> None:
    """Rewrite logins and revocations, and note what schema 3 keeps in `meta`."""
    latest = 0
    with txn.cursor(db=databases["logins"]) as cursor:
        rows = [(bytes(key), bytes(value)) for key, value in cursor]
    # The shortest one is the lifetime that logins were granted for; a session has made others longer.
    granted = [_granted(value) for _key, value in rows if value.partition(b"\0")[2]]
    least = min((seconds for seconds in granted if seconds > 0), default=0)
    for key, value in rows:
        facts, _, user = value.partition(b"\0")
        login_at, expires_at, format_name = facts.split(b" ", 2)
        lifetime = least if user else _granted(value)
        fresh = b"%s %s %d 0 1 0  %s\0\0%s" % (login_at, expires_at, lifetime, format_name, user)
        txn.put(key, fresh, db=databases["logins"])
        txn.put(hashlib.sha256(user[:64].lower()).digest()[:16] + key, b"", db=databases["users"])
        latest = max(latest, int(login_at))
    with txn.cursor(db=databases["revocations"]) as cursor:
        revoked = [(bytes(key), bytes(value)) for key, value in cursor if key.startswith(b"u\0")]
    for key, value in revoked:
        if key.startswith(b"u\0\0") or key == key.lower():  # a digest: nothing to do
            continue
        known = txn.get(key.lower(), b"0", db=databases["revocations"])
        txn.put(key.lower(), b"%d" % max(int(known), int(value)), db=databases["revocations"])
        txn.delete(key, db=databases["revocations"])
    txn.put(b"latest", b"%d" % latest, db=databases["meta"])
    txn.put(b"stamped", b"%d" % latest, db=databases["meta"])
    txn.put(b"unjudged", b"1", db=databases["meta"])  # until the limits are looked at for the first time


def _granted(value: bytes) -> int:
    """For how many seconds a login of schema 2 stands."""
    login_at, expires_at = value.partition(b"\0")[0].split(b" ")[:2]
    return int(expires_at) - int(login_at)
