"""popauthctl cluster: what `init` makes and refuses; what it prints is played in tests/system/test_cluster_init.py."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from popauthd.cli import main
from popauthd.cluster.keys import parse_keys, read_keys
from popauthd.conditions import Standing
from popauthd.protocol import write_control
from popauthd.status import ClusterStatus, PeerStatus, Status, to_json

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


NOW = 1_795_467_600
STATUS = Status(
    version="1.0", pid=1, now=NOW, degraded="", dry_run=False, addresses=0, held=0,
    shared=(), sources=(), pushed=(), today={}, notes=(),
)  # fmt: skip
PEERS = (
    PeerStatus("mx3", NOW - 300, 12, -45_000, "0.2.0"),
    PeerStatus("mx2", NOW - 4, 3, 20, "0.2.0"),
    PeerStatus("mx4\x1b[0m", NOW, 3, 2500, "0.3.0"),
)
CLUSTER = ClusterStatus("mx1", "1795467599000-7", 12, 1, "", "timeout: 192.0.2.9:6379: no answer", PEERS)
UNREACHABLE = Standing("cluster-unreachable", "redis://mq", "no answer", NOW - 60)
SKEW = Standing("cluster-clock-skew", "mx3", "45 s", NOW - 60)
MISSING = Standing("log-missing", "/log", "gone", NOW - 60)


def told(directory: Path, status: Status, *words: str, command: tuple[str, ...] = ("cluster", "status")) -> int:
    """What `cluster status` ends with, or another command, where the watcher says this of itself."""
    (directory / "popauthd.toml").write_text(f'run_dir = "{directory}"')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "control.sock"))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(write_control(to_json(status)))

        answering = threading.Thread(target=answer)
        answering.start()
        code = main([*command, "--config", str(directory / "popauthd.toml"), *words])
        answering.join()
    (directory / "control.sock").unlink()
    return code


def test_a_machine_by_itself_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(tmp_path, STATUS) == 1
    assert capsys.readouterr().out == "this machine is by itself: no [cluster] is in force\n"


def test_the_nodes_and_the_way_to_them_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(tmp_path, replace(STATUS, cluster=CLUSTER, conditions=(UNREACHABLE, SKEW, MISSING))) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "node mx1: not well"
    assert [line.partition(",")[0] for line in lines if " cluster-" in line or "log-" in line] == [
        "degraded cluster-unreachable",
        "warning cluster-clock-skew",
    ]
    assert lines[5:] == [
        "reading: works",
        "sending: timeout: 192.0.2.9:6379: no answer",
        "read up to 1795467599000-7; gaps since the start: 1",
        "waiting to be sent: 12",
        "other nodes:",
        "  mx2: heard of just now; 3 ms on the way; clock: the engine's time; 0.2.0",
        "  mx3: silent, last heard of 5m 0s ago; 12 ms on the way; clock: 45.0 s ahead of the engine's; 0.2.0",
        "  mx4\\x1b[0m: heard of just now; 3 ms on the way; clock: 2.5 s behind the engine's; 0.3.0",
    ]


def test_a_node_that_is_well_or_only_warns_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    well = replace(CLUSTER, sending="", place="", peers=())
    assert told(tmp_path, replace(STATUS, cluster=well)) == 0
    assert capsys.readouterr().out.splitlines()[0] == "node mx1: well"
    assert told(tmp_path, replace(STATUS, cluster=well, conditions=(SKEW, MISSING))) == 0
    said = capsys.readouterr().out
    assert "read up to nothing yet" in said
    assert "other nodes: none has been heard of" in said


def test_json_has_the_cluster_and_its_conditions_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(tmp_path, replace(STATUS, cluster=CLUSTER, conditions=(SKEW, MISSING)), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [said["now"], said["cluster"]["unsent"], said["cluster"]["peers"][1]["node"]] == [NOW, 12, "mx2"]
    assert [one["word"] for one in said["conditions"]] == ["cluster-clock-skew"]


def test_the_status_of_the_watcher_names_the_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(tmp_path, replace(STATUS, cluster=CLUSTER), command=("status",)) == 0
    assert "node mx1 of a cluster, 3 others heard of: see popauthctl cluster status" in capsys.readouterr().out
    assert told(tmp_path, STATUS, command=("status",)) == 0
    assert "cluster" not in capsys.readouterr().out
