"""A cluster's stream in a real Redis, as several tests ask for it."""

from __future__ import annotations

from popauthd.cluster.connection import Timeouts, Tls
from popauthd.cluster.engine import RedisStream
from popauthd.cluster.primary import Access
from popauthd.cluster.stream import EngineError
from popauthd.config.engine_url import read_url
from tests.servers.redis import STREAM, Redis

SHORT = Timeouts(connect=0.3, command=0.3, sentinel=0.3)  # for a server that will never answer
PATIENT = Timeouts(connect=60, command=60, sentinel=1.5)  # for one that will, however loaded the machine is
ONE = {b"k": b"login", b"a": b"192.0.2.7"}
LONG_AGO = 0  # what is to be kept: all


def stream(url: str, timeouts: Timeouts = PATIENT, password: str = "", tls: Tls | None = None) -> RedisStream:
    """The stream at a URL, not connected yet."""
    return RedisStream(Access(read_url(url), password, tls=tls or Tls(), timeouts=timeouts), STREAM)


def of(redis: Redis, timeouts: Timeouts = PATIENT, password: str = "", user: str = "") -> RedisStream:
    """The stream in a server that is asked by its port."""
    at = f"{user}@" if user else ""
    return stream(f"redis://{at}127.0.0.1:{redis.port}", timeouts, password)


def fails(engine: RedisStream, word: str) -> bool:
    """Whether appending fails with this word, and with an explanation."""
    try:
        engine.append([ONE], LONG_AGO)
    except EngineError as error:
        assert (error.word, bool(error.text)) == (word, True), error
        return True
    return False


def fails_with_time(engine: RedisStream) -> bool:
    """Whether a server that answers is too slow just now, as the machine is loaded."""
    try:
        engine.time_ms()
    except EngineError as error:
        assert error.word == "timeout"
        return True
    return False
