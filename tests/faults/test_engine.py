"""A real Redis (and Valkey where the release has it) that does what it should not: every word of EngineError.

With whatever redis-py there is: the suite runs this with Debian's and with the newest.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from popauthd.cluster.acl import acl_rule
from popauthd.cluster.connection import Tls
from popauthd.cluster.engine import AT_ONCE
from popauthd.cluster.stream import BEGIN, WORDS, EngineError, Info, id_ms
from tests.servers.place import Place, free_port, wait_for
from tests.servers.redis import ENGINES, STREAM, Deaf, Redis
from tests.support.engines import LONG_AGO, ONE, PATIENT, SHORT, fails, fails_with_time, of, stream

# redis-py 4.3.4 leaves the socket of a TLS handshake that failed to Python, which closes it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

BYTES = {b"k": bytes(range(256)), b"": b"", b"two words": b"\r\n"}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


@pytest.fixture(scope="module", params=ENGINES)
def shared(place: Place, request: pytest.FixtureRequest) -> Redis:
    return Redis(place, f"shared-{request.param}", engine=request.param)


@pytest.fixture
def redis(shared: Redis) -> Redis:
    """A server that has nothing in it; whoever changes more of it takes one of his own."""
    shared.ask("FLUSHALL")
    return shared


@pytest.fixture
def own() -> Iterator[Redis]:
    """A server that is the test's to spoil."""
    with Place() as place:
        made = Redis(place, "own")
        yield made
        made.kill()  # one that reads its data, or cannot write it, does not end by itself


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_what_is_appended_is_read_in_order_from_any_id(way: str, protocol: int, redis: Redis) -> None:
    where = {"tcp": f"redis://127.0.0.1:{redis.port}", "unix": f"unix://{redis.socket}"}[way]
    with closing(stream(f"{where}?protocol={protocol}")) as engine:
        assert [engine.info(), engine.read(BEGIN, 10, 0)] == [Info(), []]
        first, second, third = engine.append([ONE, BYTES, ONE], LONG_AGO)
        assert engine.read(BEGIN, 10, 1000) == [(first, ONE), (second, BYTES), (third, ONE)]
        assert engine.read(first, 1, 0) == [(second, BYTES)]
        assert engine.read(third, 10, 1) == []
        assert engine.info() == Info(first, third, 3, 3)
        assert abs(engine.time_ms() - id_ms(third)) < 600_000


def test_another_database_is_another_stream(redis: Redis) -> None:
    with closing(stream(f"redis://127.0.0.1:{redis.port}/3")) as third, closing(of(redis)) as plain:
        third.append([ONE], LONG_AGO)
        assert [third.info().length, plain.info().length] == [1, 0]


def test_many_entries_at_once_keep_their_order(redis: Redis) -> None:
    with closing(of(redis)) as engine:
        sent = [{b"i": b"%d" % number, b"x": b"y" * 300} for number in range(3 * AT_ONCE + 1)]
        ids = engine.append(sent, LONG_AGO)
        assert engine.read(BEGIN, len(sent), 0) == list(zip(ids, sent, strict=True))


def test_a_blocked_reader_gets_what_comes_and_what_came_between_two_reads(redis: Redis) -> None:
    with closing(of(redis)) as reader, closing(of(redis)) as writer:
        (before,) = writer.append([ONE], LONG_AGO)
        assert reader.read(BEGIN, 10, 0) == [(before, ONE)]
        (between,) = writer.append([ONE], LONG_AGO)
        assert reader.read(before, 10, 60_000) == [(between, ONE)]
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.extend(reader.read(between, 10, 60_000)))
        waiting.start()
        wait_for(lambda: "blocked_clients:1" in redis.ask("INFO", "clients"), "the reader to wait")
        (after,) = writer.append([BYTES], LONG_AGO)
        waiting.join()
        assert found == [(after, BYTES)]


def test_nothing_is_asked_but_what_the_acl_allows_and_never_from_the_end(redis: Redis) -> None:
    redis.ask("CONFIG", "SET", "slowlog-log-slower-than", 0, "slowlog-max-len", 1000)
    redis.ask("SLOWLOG", "RESET")
    with closing(stream(f"redis://127.0.0.1:{redis.port}?protocol=3")) as engine:
        engine.append([ONE, ONE], LONG_AGO)
        for after in (BEGIN, engine.info().first_id):
            engine.read(after, 10, 1)
        engine.time_ms()
    redis.ask("CONFIG", "SET", "slowlog-log-slower-than", -1)
    asked = {line.strip() for line in redis.ask("SLOWLOG", "GET", 1000).splitlines()}
    assert {"XADD", "XREAD", "XINFO", "ROLE", "TIME"} <= asked
    assert asked.isdisjoint({"$", "XGROUP", "XREADGROUP", "CLIENT", "SETINFO"})


def test_old_entries_are_trimmed_and_the_count_of_all_goes_on(redis: Redis) -> None:
    with closing(of(redis)) as engine:
        ids = engine.append([ONE] * 1000, LONG_AGO)
        wait_for(lambda: engine.time_ms() > id_ms(ids[-1]), "the next millisecond")
        (last,) = engine.append([ONE], engine.time_ms())
        found = engine.info()
        assert [found.last_id, found.entries_added] == [last, 1001]
        assert found.length < 1000
        assert ids[0] not in [entry[0] for entry in engine.read(BEGIN, 2000, 0)]
        assert found.first_id == engine.read(BEGIN, 1, 0)[0][0]


def test_a_flushed_server_has_no_stream_and_a_reader_goes_on_with_the_next_entry(redis: Redis) -> None:
    with closing(of(redis)) as engine:
        (before,) = engine.append([ONE], LONG_AGO)
        redis.ask("FLUSHALL")
        assert [engine.info(), engine.read(before, 10, 0)] == [Info(), []]
        (after,) = engine.append([ONE], LONG_AGO)
        assert [engine.read(before, 10, 0), engine.info().entries_added] == [[(after, ONE)], 1]


def test_nothing_that_listens_is_refused(tmp_path: Path) -> None:
    assert fails(stream(f"redis://127.0.0.1:{free_port()}"), "refused")
    assert fails(stream(f"unix://{tmp_path}/nothing"), "refused")


@pytest.mark.parametrize(("scheme", "password"), [("redis", ""), ("redis", "secret"), ("rediss", "")])
def test_a_server_that_accepts_and_never_answers_is_a_timeout(scheme: str, password: str) -> None:
    with Deaf() as deaf:
        engine = stream(f"{scheme}://127.0.0.1:{deaf.port}", SHORT, password)
        for _ in range(2):
            assert fails(engine, "timeout")


def test_a_server_that_hangs_is_a_timeout_for_each_call_and_goes_on_afterwards(own: Redis) -> None:
    with closing(of(own, SHORT)) as hurried, closing(of(own)) as patient:
        patient.append([ONE], LONG_AGO)
        wait_for(lambda: not fails_with_time(hurried), "the server to answer")
        own.hang()
        for call in (lambda: hurried.read(BEGIN, 1, 100), hurried.info, hurried.time_ms):
            with pytest.raises(EngineError) as caught:
                call()
            assert caught.value.word == "timeout"
        own.resume()
        assert patient.append([ONE], LONG_AGO)


def test_a_server_that_dies_is_lost_then_refused_and_then_itself_again(own: Redis) -> None:
    with closing(of(own)) as engine:
        engine.append([ONE], LONG_AGO)
        own.kill()
        assert fails(engine, "lost")
        assert fails(engine, "refused")
        own.start()
        assert engine.append([ONE], LONG_AGO)


USERS = [
    "user default on >right ~* &* +@all",
    f"user popauthd on >node {acl_rule(STREAM, db=1)}",
    f"user reader on >node ~{STREAM} resetchannels -@all +xread +role",
    f"user other on >node {acl_rule('another')}",
]
LET_IN = [
    ("a wrong password", "", "wrong", "auth"),
    ("no password", "", "", "auth"),
    ("a user that is not there", "nobody", "node", "auth"),
    ("a user who may not append", "reader", "node", "auth"),
    ("a user of another stream", "other", "node", "auth"),
]


@pytest.fixture(scope="module")
def guarded(place: Place) -> Redis:
    return Redis(place, "guarded", *USERS, password="right")


@pytest.mark.parametrize(("label", "user", "password", "word"), LET_IN, ids=[row[0] for row in LET_IN])
@pytest.mark.parametrize("protocol", [2, 3])
def test_who_has_not_the_right_is_not_let_in(
    label: str, user: str, password: str, word: str, protocol: int, guarded: Redis
) -> None:
    at = f"{user}@" if user else ""
    engine = stream(f"redis://{at}127.0.0.1:{guarded.port}?protocol={protocol}", PATIENT, password)
    for _ in range(2):
        assert fails(engine, word), label


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_acl_that_is_advised_lets_a_node_do_all_it_must_and_nothing_else(protocol: int, guarded: Redis) -> None:
    guarded.ask("ACL", "LOG", "RESET")
    where = f"redis://popauthd@127.0.0.1:{guarded.port}/1?protocol={protocol}"
    with closing(stream(where, password="node")) as engine:
        (sent,) = engine.append([ONE], LONG_AGO)
        assert engine.info().last_id == sent
        assert engine.read(engine.info().first_id, 10, 1) == [] or engine.read(BEGIN, 10, 1)
        assert engine.time_ms()
    assert guarded.ask("ACL", "LOG") == ""
    for words in (["DEL", STREAM], ["XADD", "other", "*", "a", "b"], ["FLUSHALL"], ["XTRIM", STREAM, "MAXLEN", "0"]):
        assert "no permissions" in guarded.ask("ACL", "DRYRUN", "popauthd", *words)


@pytest.fixture(scope="module")
def encrypted(place: Place) -> Redis:
    return Redis(place, "encrypted", password="right", tls=True)


def test_tls_is_checked_with_the_named_ca_and_the_host(encrypted: Redis) -> None:
    named = Tls(ca_file=str(encrypted.ca))
    with closing(stream(f"rediss://localhost:{encrypted.port}", PATIENT, "right", named)) as engine:
        assert engine.append([ONE], LONG_AGO)
    assert fails(stream(f"rediss://localhost:{encrypted.port}", PATIENT, "right"), "auth")
    assert fails(stream(f"rediss://127.0.0.1:{encrypted.port}", PATIENT, "right", named), "auth")


def test_plain_text_on_a_port_for_tls_is_an_error(encrypted: Redis) -> None:
    with pytest.raises(EngineError):
        of(encrypted, password="right").append([ONE], LONG_AGO)


def test_who_answers_something_else_is_not_understood() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"220 mx.example.org ESMTP\r\n")
                connection.recv(1)

        answering = threading.Thread(target=greet)
        answering.start()
        assert fails(stream(f"redis://127.0.0.1:{server.getsockname()[1]}"), "protocol")
        answering.join()


def test_a_name_that_holds_something_else_is_the_wrong_type(redis: Redis) -> None:
    redis.ask("SET", STREAM, "x")
    with closing(of(redis)) as engine:
        assert fails(engine, "wrong-type")
        for call in (lambda: engine.read(BEGIN, 1, 0), engine.info):
            with pytest.raises(EngineError) as caught:
                call()
            assert caught.value.word == "wrong-type"


def test_a_server_without_memory_is_full_and_still_read(own: Redis) -> None:
    with closing(of(own)) as engine:
        engine.append([ONE], LONG_AGO)
        own.ask("CONFIG", "SET", "maxmemory", 1, "maxmemory-policy", "noeviction")
        assert fails(engine, "full")
        assert len(engine.read(BEGIN, 10, 0)) == 1
        own.ask("CONFIG", "SET", "maxmemory", 0)
        assert engine.append([ONE], LONG_AGO)


def test_a_server_that_cannot_save_is_full(own: Redis) -> None:
    own.directory.joinpath("dump.rdb").mkdir()  # no file can take its place, whoever writes it
    own.ask("CONFIG", "SET", "save", "3600 1000000")
    own.ask("BGSAVE")
    wait_for(lambda: "rdb_last_bgsave_status:err" in own.ask("INFO", "persistence"), "the server to fail to save")
    with closing(of(own)) as engine:
        assert fails(engine, "full")


def test_a_server_with_too_many_clients_is_full(own: Redis) -> None:
    own.ask("CONFIG", "SET", "maxclients", 1)
    with closing(of(own)) as first, closing(of(own)) as second:
        first.append([ONE], LONG_AGO)
        assert fails(second, "full")


def test_a_server_that_reads_its_data_is_loading(own: Redis) -> None:
    own.ask("EVAL", "for i = 1, 150 do redis.call('SET', 'key' .. i, string.rep(i, 80)) end", 0)
    own.ask("CONFIG", "SET", "rdbcompression", "no")  # it looks up from its file after every so many bytes
    own.ask("SAVE")
    own.kill()
    with own.config.open("a") as config:
        config.write("key-load-delay 25000\nloading-process-events-interval-bytes 1024\n")
    own.start(answer="LOADING")
    assert fails(of(own), "loading")


def test_a_replica_takes_nothing_and_a_demoted_primary_is_left_by_readers_too(place: Place, redis: Redis) -> None:
    other = Redis(place, "demoted")
    reader, writer, watcher = of(other), of(other), of(other)
    writer.append([ONE], LONG_AGO)
    watcher.info()
    (begun,) = [entry[0] for entry in reader.read(BEGIN, 1, 0)]
    words: list[str] = []

    def read() -> None:
        try:
            reader.read(begun, 1, 60_000)
        except EngineError as error:
            words.append(error.word)

    waiting = threading.Thread(target=read)
    waiting.start()
    wait_for(lambda: "blocked_clients:1" in other.ask("INFO", "clients"), "the reader to wait")
    other.ask("REPLICAOF", "127.0.0.1", redis.port)
    waiting.join()
    assert words == ["readonly"]
    for engine in (reader, writer, watcher, watcher):
        with pytest.raises(EngineError) as caught:
            engine.info()
        assert caught.value.word == "readonly"
    assert fails(writer, "readonly")
    other.ask("REPLICAOF", "NO", "ONE")
    assert writer.append([ONE], LONG_AGO)


def test_every_word_has_a_meaning_and_is_tried_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [word for word in WORDS if f'"{word}"' not in text] == []
    assert all(meaning for meaning in WORDS.values())
