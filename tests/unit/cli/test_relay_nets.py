"""popauthd.cli.relay_nets: what Debian's Exim lets relay whoever logs in."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from popauthd.cli import main, relay_nets
from popauthd.cli.relay_nets import relay_net
from tests.support.helpers import write_map

NETS = [
    ("dc_relay_nets='192.0.2.0/24'", "192.0.2.7", "192.0.2.0/24"),
    ("dc_relay_nets='198.51.100.1 ; 192.0.2.7'", "192.0.2.7", "192.0.2.7"),
    ("dc_relay_nets='198.51.100.1:192.0.2.7'", "192.0.2.7", "192.0.2.7"),
    ("dc_relay_nets='2001:db8::/32;192.0.2.7'", "2001:db8::9", "2001:db8::/32"),
    ("dc_relay_nets='mx.example.org;192.0.2.0/28'", "192.0.2.7", "192.0.2.0/28"),
    ("dc_relay_nets=''", "192.0.2.7", ""),
    ("dc_relay_domains='192.0.2.7'", "192.0.2.7", ""),
    ("# dc_relay_nets='192.0.2.7'", "192.0.2.7", ""),
]


@pytest.mark.parametrize(("text", "client", "found"), NETS, ids=[row[0] for row in NETS])
def test_the_item_that_an_address_lies_in_is_found(tmp_path: Path, text: str, client: str, found: str) -> None:
    path = tmp_path / "update-exim4.conf.conf"
    path.write_text(f"dc_eximconfig_configtype='internet'\n{text}\ndc_use_split_config='false'\n")
    assert relay_net(ip_address(client), str(path)) == found


def test_without_the_file_nothing_is_found(tmp_path: Path) -> None:
    assert relay_net(ip_address("192.0.2.7"), str(tmp_path / "none")) == ""


def test_check_says_that_exim_lets_it_relay_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, config = tmp_path / "update-exim4.conf.conf", tmp_path / "popauthd.toml"
    path.write_text("dc_relay_nets='192.0.2.0/24'\n")
    config.write_text(f'run_dir = "{tmp_path}"\nstate_dir = "{tmp_path}"\n')
    write_map(tmp_path / "relay.mdb", {})
    monkeypatch.setattr(relay_nets, "EXIM_SETTINGS", str(path))
    assert main(["--config", str(config), "check", "192.0.2.7"]) == 1
    said = capsys.readouterr().out
    assert "192.0.2.7: no\n  Exim lets it relay without popauthd: 192.0.2.0/24 is in dc_relay_nets" in said
