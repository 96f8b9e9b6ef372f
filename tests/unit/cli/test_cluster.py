"""popauthctl cluster: what `init` makes and refuses; what it prints is played in tests/system/test_cluster_init.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd.cli import main
from popauthd.cluster.keys import parse_keys, read_keys

TABLE = """
state_dir = "{0}"
[cluster]
url = "{1}"
key_file = "{0}/key"
password_file = "{0}/password"
"""


def init(directory: Path, url: str, *words: str) -> int:
    file = directory / "popauthd.toml"
    file.write_text(TABLE.format(directory, url) if url else "")
    return main(["cluster", "init", "--config", str(file), *words])


def test_a_new_key_is_a_line_of_a_key_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "new-key"]) == 0
    assert len(parse_keys(capsys.readouterr().out).all) == 1


def test_without_a_cluster_and_a_url_it_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "") == 64
    assert "popauthctl cluster init --url redis://HOST" in capsys.readouterr().err
    assert init(tmp_path, "", "--url", "http://mq") == 64
    assert "--url must be a URL that begins with" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["popauthd.toml"]


URLS = [
    ("redis://mq", 'url = "redis://popauthd@mq"', "ACL SETUSER popauthd reset on", True),
    ("rediss://node@mq/2", 'url = "rediss://node@mq/2"', "+select", True),
    ("unix:///run/redis/redis.sock", 'url = "unix://popauthd@/run/redis/redis.sock"', "popauthd", False),
    ("redis+sentinel://s1,s2/main", 'url = "redis+sentinel://popauthd@s1,s2/main"', "an ACL is not replicated", True),
]


@pytest.mark.parametrize(("url", "line", "words", "network"), URLS, ids=[row[0] for row in URLS])
def test_what_is_printed_fits_the_url(
    url: str, line: str, words: str, network: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path, url) == 0
    said = capsys.readouterr().out
    assert words in said
    assert ("cluster.conf" in said) is network
    assert line in said or f"[cluster] is in {tmp_path}" in said


def test_files_that_are_there_stay_and_must_be_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "redis://popauthd@mq") == 0
    keys = read_keys(str(tmp_path / "key"))
    assert init(tmp_path, "redis://popauthd@mq") == 0
    assert read_keys(str(tmp_path / "key")) == keys
    capsys.readouterr()
    (tmp_path / "key").chmod(0o644)
    assert init(tmp_path, "redis://popauthd@mq") == 78
    assert "chmod 0600" in capsys.readouterr().err
    (tmp_path / "key").unlink()
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    assert init(tmp_path, "redis://popauthd@mq") == 78
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "popauthd.toml"
    file.write_text(TABLE.format(tmp_path / "none", "redis://mq"))
    assert main(["cluster", "init", "--config", str(file)]) == 78
    assert f"{tmp_path}/none/key: cannot be made: No such file" in capsys.readouterr().err
