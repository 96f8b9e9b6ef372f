"""Which server is the primary: real Sentinels that name it late, wrongly or not at all, and a real failover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from popauthd.cluster.engine import RedisStream
from popauthd.cluster.stream import BEGIN, EngineError
from tests.servers.place import Place, free_port, wait_for
from tests.servers.redis import STREAM, Deaf, Redis, Sentinel
from tests.support.engines import LONG_AGO, ONE, SHORT, fails, fails_with_time, stream


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


@pytest.fixture(scope="module")
def redis(place: Place) -> Redis:
    return Redis(place, "redis")


def sentinels(*ports: int) -> str:
    return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/mymaster"


def test_after_a_real_failover_the_new_primary_is_found_and_has_what_was_appended() -> None:
    with Place() as place:
        old, new = Redis(place, "old"), Redis(place, "new")
        new.follow(old)
        watching = [Sentinel(place, f"sentinel{number}", old, quorum=2) for number in range(3)]
        wait_for(lambda: all(one.is_ready(others=2) for one in watching), "the Sentinels to know each other")
        url = sentinels(*(one.port for one in watching))
        with closing(stream(url)) as engine, closing(stream(url, SHORT)) as hurried:
            (sent,) = engine.append([ONE], LONG_AGO)
            assert engine.where == f"127.0.0.1:{old.port}"
            wait_for(lambda: not fails_with_time(hurried), "the old primary to answer")
            wait_for(lambda: sent in new.ask("XINFO", "STREAM", STREAM), "the entry to reach the replica")
            old.hang()
            assert fails(hurried, "timeout")
            wait_for(lambda: all(one.named() == new.port for one in watching), "the failover")
            engine.close()
            (later,) = engine.append([ONE], LONG_AGO)
            assert engine.where == f"127.0.0.1:{new.port}"
            assert [entry[0] for entry in engine.read(BEGIN, 10, 0)] == [sent, later]
            old.resume()
            assert [entry[0] for entry in hurried_or_later(hurried)] == [sent, later]


def hurried_or_later(engine: RedisStream) -> list[tuple[str, dict[bytes, bytes]]]:
    """What is read as soon as the machine lets a server answer in time."""
    found: list[tuple[str, dict[bytes, bytes]]] = []

    def read() -> bool:
        try:
            found.extend(engine.read(BEGIN, 10, 0))
        except EngineError:
            return False
        return True

    wait_for(read, "the new primary to be read")
    return found


def test_a_sentinel_that_still_names_the_old_primary_or_hangs_leads_to_the_new_one(place: Place, redis: Redis) -> None:
    old = Redis(place, "named-still")
    behind = [Sentinel(place, f"behind{number}", old) for number in range(2)]
    old.follow(redis)
    knowing = Sentinel(place, "knowing", redis)
    assert [one.named() for one in behind] == [old.port] * 2
    assert fails(stream(sentinels(*(one.port for one in behind))), "readonly")
    with Deaf() as deaf, closing(stream(sentinels(deaf.port, *(one.port for one in behind), knowing.port))) as engine:
        assert engine.append([ONE], LONG_AGO)
        assert engine.where == f"127.0.0.1:{redis.port}"


def test_when_no_sentinel_helps_the_reason_of_each_is_told(place: Place, redis: Redis) -> None:
    strange = Sentinel(place, "strange", redis)
    nothing = free_port()
    url = sentinels(nothing, strange.port).replace("mymaster", "othername")
    with pytest.raises(EngineError) as caught:
        stream(url).time_ms()
    assert caught.value.word == "refused"
    assert f"127.0.0.1:{nothing}" in caught.value.text
    assert "does not know othername" in caught.value.text
