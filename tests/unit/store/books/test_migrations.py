"""Books of older versions are brought up to date where they are, and forget nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import pytest

import tests.books
from popauthd.address import network
from popauthd.errors import StoreError
from popauthd.policy.limits import Limits
from popauthd.store.books import DATABASES, SCHEMA, Books, Rules, migrations
from popauthd.store.books.migrations import STEPS
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from tests.books import unpack
from tests.support.policy import default_limits
from tests.support.queues import assert_queued
from tests.support.watching import housekeeping_of


@pytest.fixture
def old(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    path = tmp_path / "books.mdb"
    return str(path), unpack(2, path)


def rules(held: dict[str, Any]) -> Rules:
    return Rules(held["rules"]["shared_users"], hold_seconds=held["rules"]["hold_seconds"])


def limits(held: dict[str, Any], **change: Any) -> Limits:
    never = tuple(network(text) for text in held["limits"]["never"])
    return default_limits(**{"never": never, "ipv6_prefix": held["limits"]["ipv6_prefix"], **change})


def started(path: str, held: dict[str, Any], **change: Any) -> Books:
    """The books as a watcher of today has them after its start, at the moment when the old ones were left."""
    books = Books(path, rules(held))
    publisher = Publisher(MapWriter(str(Path(path).with_name("relay.mdb"))))
    ledger, housekeeping = housekeeping_of(books, publisher, limits(held, **change), lambda: int(held["now"]) - 86400)
    with ledger.change() as writing:
        housekeeping.start(writing, held["now"])
    publisher.close()
    return books


def test_what_older_books_hold_is_kept(old: tuple[str, dict[str, Any]], schema: int = 2) -> None:
    path, held = old
    books = Books(path, rules(held))
    with books.reading() as reading:
        rows = [
            {name: getattr(row, name) for name in ("address", "user", "login_at", "expires_at", "format")}
            for row in reading.logins.of()
        ]
        assert rows == [{name: row[name] for name in rows[0]} for row in held["logins"]]
        assert dict(reading.published.all()) == held["published"]
        for name in ("held", "ended", "refusals", "shared", "places", "counters"):
            assert held[name], f"the old books have no {name}"
        for name in ("held", "renew", "sessions", "gone", "refusals", "shared", "places", "counters", "due", "old"):
            assert reading.transaction.count(name) == held["entries"][name], name
    assert books.notes == [f"books {path}: brought from schema {schema} to {SCHEMA.decode()}"]
    assert_queued(books)
    books.close()
    again = Books(path, rules(held))
    assert again.notes == []
    again.close()


@pytest.mark.parametrize("schema", [int(schema) for schema in STEPS if schema != b"2"])
def test_so_is_what_books_of_later_schemas_hold(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "books.mdb"
    test_what_older_books_hold_is_kept((str(path), unpack(schema, path)), schema)
    held = unpack(schema, path)
    assert held["held"]
    test_a_watcher_of_today_grants_and_holds_what_the_one_before_did((str(path), held))


def test_a_watcher_of_today_grants_and_holds_what_the_one_before_did(old: tuple[str, dict[str, Any]]) -> None:
    path, held = old
    books = started(path, held)
    with books.reading() as reading:
        wanted = {address: expiry for address, expiry in held["published"].items() if expiry > held["now"]}
        assert dict(reading.published.all()) == wanted
        assert reading.meta.clock() is not None
    books.close()


def test_revocations_of_older_books_stand_and_go_into_their_file(old: tuple[str, dict[str, Any]]) -> None:
    path, held = old
    with Books(path, rules(held)).reading() as reading:
        known = {revocation.key: revocation.at for revocation in reading.revocations.all()}
        revoked = [
            row for row in reading.logins.of() if row.login_at <= reading.revocations.latest_at(row.address, row.user)
        ]
    assert {key.decode("latin-1"): at for key, at in known.items()} == held["revocations"]
    assert revoked
    assert Path(path).with_name("revocations.jsonl").read_bytes().count(b"\n") == len(known)


@pytest.mark.parametrize("times", [(1, 0), (0, 1), (1, None)], ids=["capitals later", "capitals earlier", "alone"])
def test_a_user_revoked_in_capitals_by_an_older_version_stays_revoked(
    old: tuple[str, dict[str, Any]], times: tuple[int, int | None]
) -> None:
    path, held = old
    with lmdb.open(path, subdir=False, max_dbs=20) as env, env.begin(write=True) as txn:
        revocations = env.open_db(b"revocations", txn=txn)
        for key, at in zip((b"u\0Kim@Example.org", b"u\0kim@example.org"), times, strict=True):
            if at is not None:
                txn.put(key, b"%d" % (held["now"] + at), db=revocations)
    books = Books(path, rules(held))
    with books.reading() as reading:
        assert reading.revocations.latest_at("192.0.2.1", "KIM@example.ORG") == held["now"] + 1
        assert not any(b"Kim" in revocation.key for revocation in reading.revocations.all())
    books.close()


def test_a_user_is_found_and_revoked_in_migrated_books(old: tuple[str, dict[str, Any]]) -> None:
    path, held = old
    books = started(path, held)
    with books.writing() as writing:
        for user in {row["user"] for row in held["logins"] if row["user"]}:
            rows = [row for row in held["logins"] if row["user"] == user]
            assert len(list(writing.rows.of_user(user))) == len(rows)
            writing.revocations.revoke_user(user, held["now"])
        left = {row.address for row in writing.rows.of() if not row.user}
        assert {address for address, _expiry in writing.published.all()} <= left
    books.close()


def test_what_was_granted_by_an_older_version_is_judged_when_limits_change_after_that(
    old: tuple[str, dict[str, Any]],
) -> None:
    """The old books do not say whether a login came under TLS: the next change of limits ends it."""
    path, held = old
    started(path, held, require_tls=True).close()
    books = started(path, held, require_tls=True, refuse_mechanisms=("LOGIN",))
    with books.reading() as reading:
        by_hand = {row["address"] for row in held["logins"] if not row["user"]}
        assert {address for address, _expiry in reading.published.all()} <= by_hand
    books.close()


@pytest.mark.parametrize("change", [{"lifetime_seconds": 1800}, {"own_addresses": (network("198.51.100.5"),)}], ids=str)
def test_limits_that_ask_nothing_of_a_login_s_line_end_none_of_an_older_version(
    old: tuple[str, dict[str, Any]], change: dict[str, Any]
) -> None:
    path, held = old
    started(path, held).close()
    books = started(path, held, **change)
    with books.reading() as reading:
        wanted = {address for address, expiry in held["published"].items() if expiry > held["now"]}
        assert {address for address, _expiry in reading.published.all()} == wanted
    books.close()


def test_the_first_login_after_an_upgrade_ends_none_of_an_older_version(old: tuple[str, dict[str, Any]]) -> None:
    """It tells an address of this machine, so that the limits are looked at again."""
    path, held = old
    books = Books(path, rules(held))
    publisher = Publisher(MapWriter(str(Path(path).with_name("relay.mdb"))))
    ledger, housekeeping = housekeeping_of(books, publisher, limits(held), lambda: int(held["now"]) - 86400)
    with ledger.change() as writing:
        housekeeping.start(writing, held["now"])
        before = dict(writing.published.all())
    housekeeping.limits.learn_own(["198.51.100.5"])
    housekeeping.tend(held["now"], caught_up=True)
    with books.reading() as reading:
        assert dict(reading.published.all()) == before
        assert before
    publisher.close()
    books.close()


@pytest.mark.parametrize("missing", sorted(set(DATABASES) - {"logins", "meta", "users"}))
def test_a_database_that_is_missing_is_made(tmp_path: Path, missing: str) -> None:
    path = str(tmp_path / "books.mdb")
    Books(path).close()
    with lmdb.open(path, subdir=False, max_dbs=20) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(missing.encode(), txn=txn))
    books = Books(path)
    with books.reading() as reading:
        assert list(reading.transaction.scan(missing)) == []
    books.close()


@pytest.mark.parametrize("migrated", [False, True], ids=["older books", "books of today"])
def test_books_that_lost_what_tells_their_schema_keep_everything_else(
    old: tuple[str, dict[str, Any]], migrated: bool
) -> None:
    path, held = old
    if migrated:
        Books(path, rules(held)).close()
    with lmdb.open(path, subdir=False, max_dbs=20) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(b"meta", txn=txn))
    books = Books(path, rules(held))
    with books.reading() as reading:
        assert dict(reading.published.all()) == held["published"]
        assert len(list(reading.logins.of())) == len(held["logins"])
        assert reading.transaction.get("meta", b"schema") == SCHEMA
    books.close()
    Books(path, rules(held), readonly=True).close()


def test_books_to_be_read_are_not_migrated_and_the_reader_is_told(old: tuple[str, dict[str, Any]]) -> None:
    with pytest.raises(StoreError, match="older books are brought up to date when the watcher starts"):
        Books(old[0], readonly=True)
    unpacked = Path(old[0]).read_bytes()
    with pytest.raises(StoreError):
        Books(old[0], readonly=True)
    assert Path(old[0]).read_bytes() == unpacked


def test_a_migration_that_fails_leaves_the_books_as_they_were(
    old: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(txn: lmdb.Transaction, databases: object) -> None:
        STEPS_BEFORE[b"2"][0](txn, databases)  # type: ignore[arg-type]
        raise lmdb.Error("no space left on the device")

    STEPS_BEFORE = dict(STEPS)
    monkeypatch.setattr("popauthd.store.books.migrations.STEPS", {b"2": (fail, b"3")})
    with pytest.raises(StoreError, match="no space left") as kept:
        Books(old[0], rules(old[1]))
    monkeypatch.undo()
    test_what_older_books_hold_is_kept(old)
    assert kept.tb is not None, "the books were closed though their error is held"


def test_every_step_leads_on_to_the_schema_of_today() -> None:
    assert list(STEPS.values())[-1][1] == SCHEMA
    assert [schema for schema, _step in STEPS.items()][1:] == [to for _step, to in STEPS.values()][:-1]


def test_every_step_has_its_room_and_books_of_its_schema() -> None:
    folder = Path(migrations.__file__).parent
    rooms = {path.stem for path in folder.glob("from_*.py")}
    assert rooms == {f"from_{schema.decode()}_to_{to.decode()}" for schema, (_step, to) in STEPS.items()}
    for schema in STEPS:
        assert (tests.books.HERE / f"schema-{schema.decode()}.mdb.xz").exists(), schema


def test_a_shorter_lifetime_at_the_upgrade_shortens_what_was_granted_before(old: tuple[str, dict[str, Any]]) -> None:
    path, held = old
    lifetime = 300
    books = started(path, held, lifetime_seconds=lifetime)
    now, lasting = held["now"], {address for address, _user, _at in held["held"]}
    with books.reading() as reading:
        rows = [row for row in reading.logins.of() if row.user and row.expires_at > now]
        assert rows
        for row in rows:
            before = next(one for one in held["logins"] if (one["address"], one["user"]) == (row.address, row.user))
            plain = before["expires_at"] - before["login_at"] == 900 and row.address not in lasting
            assert row.expires_at <= (row.login_at if plain else now) + lifetime, row
        assert {row.user for row in rows} >= {"zoe", "last"}
        assert "carl" not in {row.user for row in rows}, "who logged in ten minutes ago"
    books.close()
