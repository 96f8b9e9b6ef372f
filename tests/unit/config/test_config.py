"""popauthd.config: every wrong configuration is named by file, key and what would be right."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from popauthd import config
from popauthd.config.limits import limits
from popauthd.config.settings import CLUSTER_SETTINGS, SETTINGS, SOURCE_SETTINGS
from popauthd.config.show import as_table, as_toml
from popauthd.errors import ConfigError
from tests.support.helpers import no_descriptor_left

WRONG = [
    ("unknown key with a near one", 'lifetme = "15m"', ["lifetme", 'did you mean "lifetime"']),
    ("unknown key with nothing near", "zzz = 1", ["zzz", "known keys are", "lifetime"]),
    ("a duration without unit", 'lifetime = "15"', ["lifetime", '"15m"']),
    ("a duration of the wrong type", "lifetime = true", ["lifetime", '"15m"']),
    ("a negative duration", "lifetime = -5", ["lifetime"]),
    ("a lifetime too long", 'lifetime = "8d"', ["lifetime", "between 1s and 7d"]),
    ("a lifetime of part of a second", 'lifetime = "1500ms"', ["lifetime", "whole seconds"]),
    ("a hold too long", 'hold_no = "2s"', ["hold_no", "at most 1500ms"]),
    ("a bad network", 'never = ["10.0.0.0/33"]', ["never", "10.0.0.0/33", "192.0.2.0/24"]),
    ("host bits", 'never = ["10.0.0.1/8"]', ["never", "10.0.0.1/8"]),
    ("a network not in a list", 'never = "10.0.0.0/8"', ["never", "list of networks"]),
    ("a network not in quotes", "never = [10]", ["never", "quotes"]),
    ("a boolean in quotes", 'grant_loopback = "true"', ["grant_loopback", "without quotes"]),
    ("a relative path", 'run_dir = "run"', ["run_dir", "absolute path"]),
    ("a text that is a number", "group = 5", ["group", "quotes"]),
    ("a refusal of two lines", 'refusal = "a\\nb"', ["refusal", "one line of text"]),
    ("a refusal that is too long", f'refusal = "{"ü" * 201}"', ["refusal", "400 bytes"]),
    ("source as one table", "[source]\npath = '/x'", ["source", "[[source]]"]),
    ("source without path", "[[source]]\nframing = 'auto'", ["source 1", "path", "missing"]),
    ("source with an unknown key", "[[source]]\npaht = '/x'", ["source 1", 'did you mean "path"']),
    ("source with an unknown framing", "[[source]]\npath = '/x'\nframing = 'x'", ["framing", "dovecot-file"]),
    ("source with hostnames not a list", "[[source]]\npath = '/x'\nhostnames = 'a'", ["hostnames", "list of texts"]),
    ("a number in quotes", 'shared_users = "5"', ["shared_users", "whole number"]),
    ("a number not in the list", "ipv6_prefix = 56", ["ipv6_prefix", "64, 128"]),
    ("a protocol that is none", 'protocols = ["smtp"]', ["protocols", "smtp", "pop3, imap"]),
    ("no protocol", "protocols = []", ["protocols", "pop3, imap"]),
    ("a mechanism that is none", 'refuse_mechanisms = ["A B"]', ["refuse_mechanisms", "A B", "CRAM-MD5"]),
    ("lifetimes that are no table", 'lifetime_by_network = ["10.0.0.0/8"]', ["lifetime_by_network", "table"]),
    ("lifetimes of no network", 'lifetime_by_network = { "x" = "1h" }', ["lifetime_by_network", "'x'"]),
    ("a lifetime of a network too long", 'lifetime_by_network = { "10.0.0.0/8" = "8d" }', ["10.0.0.0/8", "7d"]),
    (
        "one network in two forms",
        'lifetime_by_network = { "::ffff:10.0.0.0/104" = "1h", "10.0.0.0/8" = "2h" }',
        ["lifetime_by_network", "twice"],
    ),
    ("the same log twice", "[[source]]\npath = '/x'\n[[source]]\npath = '/x'", ["/x", "two"]),
    ("a cluster without an engine", "[cluster]\nnode = 'mx1'", ["[cluster]", "url", "missing", "redis://"]),
    ("a cluster that is no table", "cluster = 'mx1'", ["cluster", "[cluster]"]),
    ("two clusters", "[[cluster]]\nurl = 'redis://mq'", ["cluster", "must be a table"]),
    ("a cluster with an unknown key", "[cluster]\nurl = 'redis://mq'\nnod = 'a'", ["[cluster]", 'did you mean "node"']),
    ("an engine of another kind", "[cluster]\nurl = 'amqp://mq'", ["[cluster]", "url", "redis://"]),
    ("a node name with a blank", "[cluster]\nurl = 'redis://mq'\nnode = 'a b'", ["[cluster]", "node", "letters"]),
    ("a pattern for a stream", "[cluster]\nurl = 'redis://mq'\nstream = 'a*'", ["[cluster]", "stream", "letters"]),
    ("not TOML", "lifetime = = 1", ["not valid TOML"]),
    ("nested without end", f"never = {'[' * 100_000}", ["not valid TOML", "nested too deeply"]),
    ("a number without end", f"shared_users = {'9' * 5000}", ["not valid TOML"]),
    ("endless", "#" * (2 << 20), ["cannot be read", "longer"]),
    ("not UTF-8", b"group = '\xff'", ["not valid TOML"]),
]


@pytest.mark.parametrize(("text", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_configuration_names_file_key_and_what_would_be_right(
    tmp_path: Path, text: str | bytes, words: list[str]
) -> None:
    file = tmp_path / "popauthd.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        config.load(str(file))
    assert caught.value.exit_code == 78
    for word in [str(file), *words]:
        assert word in str(caught.value)


def test_a_file_that_cannot_be_read_just_now_is_tried_again_by_systemd(tmp_path: Path) -> None:
    file = tmp_path / "popauthd.toml"
    file.touch()
    with no_descriptor_left(), pytest.raises(ConfigError, match="Too many open files") as caught:
        config.load(str(file))
    assert caught.value.exit_code == 74, "popauthd.service does not start again after 78"


def test_a_missing_file_is_an_error_when_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(str(tmp_path / "none.toml"))


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "popauthd.toml"
    file.touch()
    loaded = config.load(str(file))
    assert (loaded.lifetime_seconds, loaded.future_seconds, loaded.hold_no_ms) == (900, 120, 100)
    assert loaded.map_path == "/run/popauthd/relay.mdb"
    assert not loaded.grant_loopback


def test_every_setting_has_a_field_and_every_field_a_setting() -> None:
    assert {row.field for row in SETTINGS} == {field.name for field in fields(config.Config)} - {"cluster", "sources"}
    assert {row.field for row in CLUSTER_SETTINGS} == {field.name for field in fields(config.ClusterConfig)}
    assert {row.field for row in SOURCE_SETTINGS} == {field.name for field in fields(config.SourceConfig)}


def test_every_default_can_be_written_into_the_file() -> None:
    source = {row.key: row.default for row in SOURCE_SETTINGS} | {"path": "/var/log/mail.log"}
    cluster = {row.key: row.default for row in CLUSTER_SETTINGS} | {"url": "redis://mq"}
    table = {row.key: row.default for row in SETTINGS} | {"cluster": cluster, "source": [source]}
    written = config.from_mapping(table, "test")
    assert replace(written, cluster=None, sources=()) == config.Config() == config.from_mapping({}, "test")
    assert written.cluster == config.ClusterConfig(url="redis://mq")
    assert written.sources == (config.SourceConfig(path="/var/log/mail.log"),)


def test_policy_has_each_of_its_settings_from_the_configuration() -> None:
    text = 'lifetime = "20m"\nfuture = "1m"\nnever = ["10.0.0.0/8"]\nown_addresses = ["192.0.2.1"]\n'
    text += 'proxies = ["192.0.2.2"]\nalways = ["192.0.2.3"]\nprotocols = ["imap"]\nrequire_tls = true\n'
    text += 'refuse_mechanisms = ["LOGIN"]\nipv6_prefix = 64\ngrant_loopback = true\n'
    text += 'lifetime_by_network = { "10.0.0.0/8" = "1h" }\n'
    loaded = config.from_mapping(tomllib.loads(text), "test")
    found, before = limits(loaded), limits(config.Config())
    for field in fields(found):
        if hasattr(loaded, field.name):
            assert getattr(found, field.name) == getattr(loaded, field.name) != getattr(before, field.name)
        else:
            assert field.name in {"users", "denied", "facts", "peer_names"}


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    text = 'lifetime = "20m"\nnever = ["10.0.0.0/8"]\ngroup = "a\\"b\\\\\\u0007\\u007f"\nshared_users = 0\n'
    text += 'lifetime_by_network = { "10.0.0.0/8" = "1h", "10.1.0.0/16" = "2h" }\nrefuse_mechanisms = ["login"]\n'
    text += '[cluster]\nurl = "redis+sentinel://s1,s2/main"\nnode = "mx1"\n'
    text += '[[source]]\npath = "/var/log/mail.log"\nhostnames = ["mx1"]\nrip_last = true\n'
    text += 'services = { imapmail = "imap", 10110 = "pop3" }\n[[source]]\ntype = "journal"\n'
    loaded = config.from_mapping(tomllib.loads(text), "test")
    file = tmp_path / "shown.toml"
    file.write_text(as_toml(as_table(loaded)))
    assert config.load(str(file)) == loaded
