"""The way in: made of the configuration, and of redis-py only where it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from popauthd.cluster.access import access, node_name
from popauthd.config import ClusterConfig
from popauthd.errors import ConfigError
from tests.support.helpers import ROOT

ALL_BUT_THE_LINK = "popauthd.daemon, popauthd.cli.cluster, popauthd.cli.configure, popauthd.cluster.access"


def test_nothing_but_the_link_imports_redis_py() -> None:
    code = f"import sys, {ALL_BUT_THE_LINK}; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_node_without_a_name_has_that_of_the_machine_if_it_may_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, right in (("mx1.example.org", True), ("mx 1", False), ("-", False), ("", False), ("m" * 65, False)):
        monkeypatch.setattr("os.uname", lambda host=host: type("Uname", (), {"nodename": host}))
        assert node_name(ClusterConfig(node="given")) == "given"
        if right:
            assert node_name(ClusterConfig()) == host
        else:
            with pytest.raises(ConfigError, match="name the node"):
                node_name(ClusterConfig())


def test_no_password_is_in_a_text_that_somebody_may_print(tmp_path_factory: pytest.TempPathFactory) -> None:
    files = [tmp_path_factory.mktemp("secrets") / name for name in ("redis", "sentinel")]
    for file in files:
        file.touch(0o600)
        file.write_text(f"secret-of-{file.name}\n")
    named = [str(file) for file in files]
    found = access(ClusterConfig("redis://mq", password_file=named[0], sentinel_password_file=named[1]))
    assert [found.password, found.sentinel_password] == ["secret-of-redis", "secret-of-sentinel"]
    assert "secret-of" not in repr(found)
