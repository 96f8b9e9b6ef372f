"""The URL of a cluster's engine: its parts, and what is wrong with it in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.config.engine_url import EngineUrl, read_url

READ = [
    ("redis://mq", EngineUrl((("mq", 6379),)), True),
    ("redis://127.0.0.1:6380/2", EngineUrl((("127.0.0.1", 6380),), db=2), False),
    ("redis://127.9.9.9", EngineUrl((("127.9.9.9", 6379),)), False),
    ("redis://localhost/", EngineUrl((("localhost", 6379),)), False),
    ("redis://[::1]:6379", EngineUrl((("::1", 6379),)), False),
    ("redis://[2001:db8::1]", EngineUrl((("2001:db8::1", 6379),)), True),
    ("redis://an%40na@mq?protocol=3&db=1", EngineUrl((("mq", 6379),), user="an@na", db=1, protocol=3), True),
    ("rediss://mq.example.org:6390", EngineUrl((("mq.example.org", 6390),), tls=True), False),
    ("unix:///run/redis/redis.sock", EngineUrl((), path="/run/redis/redis.sock"), False),
    ("unix://popauthd@/run/a%20b?db=4", EngineUrl((), path="/run/a b", user="popauthd", db=4), False),
    ("redis+sentinel://s1,s2:26380/main", EngineUrl((("s1", 26379), ("s2", 26380)), "main"), True),
    ("redis+sentinel://127.0.0.1,s2/main", EngineUrl((("127.0.0.1", 26379), ("s2", 26379)), "main"), True),
    ("rediss+sentinel://u@[::1]/m?db=1", EngineUrl((("::1", 26379),), "m", user="u", db=1, tls=True), False),
]
WRONG = [
    ("mq:6379", "begins with one of redis://"),
    ("http://mq", "begins with one of redis://"),
    ("redis://", "'', which is no host"),
    ("redis://mq:0", "no host"),
    ("redis://mq:65536", "no host"),
    ("redis://2001:db8::1", "no host"),
    ("redis://m q", "no host"),
    ("redis://anna:secret@mq", "password_file"),
    ("redis://:secret@mq", "password_file"),
    ("redis://mq/main", "no number"),
    ("redis://mq?db=x", "no number"),
    ("redis://mq?db=1&db=2", "known are"),
    ("redis://mq?password=x", "known are"),
    ("redis://mq?protocol=4", "2 or 3"),
    ("redis://mq#x", "begins with"),
    ("unix://run/redis.sock", "unix:///run"),
    ("unix:///", "unix:///run"),
    ("redis+sentinel://s1,s2", "what they watch"),
    ("redis+sentinel://s1,/main", "no host"),
    ("redis+sentinel://s1/main/2", "what they watch"),
]


@pytest.mark.parametrize(("text", "expected", "in_clear"), READ, ids=[row[0] for row in READ])
def test_a_url_is_read_into_its_parts(text: str, expected: EngineUrl, in_clear: bool) -> None:
    assert [read_url(text), read_url(text).in_clear] == [expected, in_clear]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_url_is_refused_with_what_would_be_right(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_url(text)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        found = read_url("redis://" + text)
    except ValueError:
        return
    assert found.hosts
