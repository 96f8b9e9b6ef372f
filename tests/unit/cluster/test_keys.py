"""The file with the cluster's keys: one or two, private, and never shown."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from popauthd.cluster.keys import Key, make_key, parse_keys, read_keys
from popauthd.errors import ConfigError

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)


def key_file(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "cluster.key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def encoded(secret: bytes) -> str:
    return base64.b64encode(secret).decode("ascii")


def test_a_key_that_was_made_is_read(tmp_path: Path) -> None:
    first, second = make_key(), make_key()
    found = read_keys(key_file(tmp_path, f"# of July\n{first}\n{second}"))
    assert [f"{key.key_id} {encoded(key.secret)}\n" for key in found.all] == [first, second]
    assert found.signing is found.all[0]
    assert encoded(found.signing.secret) not in repr(found)


WRONG_KEYS = [
    ("no key", "# later\n", "has 0 keys"),
    ("three keys", make_key() + make_key() + make_key(), "has 3 keys"),
    ("a key without a name", encoded(OLD.secret), "not a key's name"),
    ("a short key", "old " + encoded(b"x" * 31), "31 bytes"),
    ("a long key", "old " + encoded(b"x" * 129), "129 bytes"),
    ("no base64", "old " + "?" * 44, "not base64"),
    ("a name with a sign", "o/d " + encoded(OLD.secret), "not a key's name"),
    ("one name for two keys", f"k {encoded(OLD.secret)}\nk {encoded(NEW.secret)}", "twice"),
    ("one key under two names", f"k {encoded(OLD.secret)}\nm {encoded(OLD.secret)}", "twice"),
    ("no ASCII", "schlüssel " + encoded(OLD.secret), "ASCII"),
]


@pytest.mark.parametrize(("label", "text", "words"), WRONG_KEYS, ids=[row[0] for row in WRONG_KEYS])
def test_a_wrong_key_file_is_refused_with_what_to_do_and_without_the_key(
    label: str, text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read_keys(key_file(tmp_path, text))
    assert "popauthctl cluster init" in str(caught.value), label
    assert encoded(OLD.secret) not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o601, 0o644])
def test_a_key_file_that_others_can_open_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{mode:04o}.*chmod 0600"):
        read_keys(key_file(tmp_path, make_key(), mode))


def test_a_key_file_that_is_far_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than"):
        read_keys(key_file(tmp_path, "#" * 5000))


def test_a_key_file_of_somebody_else_or_that_is_no_file_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, make_key())
    with pytest.raises(ConfigError, match="belongs to"):
        read_keys(path, owners=[os.geteuid() + 1])
    assert read_keys(path, owners=[os.geteuid()]) == parse_keys(Path(path).read_text())
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "not a plain file"), ("gone", "No such file"), (".", "not a plain file")):
        with pytest.raises(ConfigError, match=words):
            read_keys(str(tmp_path / name))
