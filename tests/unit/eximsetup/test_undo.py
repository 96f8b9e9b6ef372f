"""A change of Exim's configuration is noted, told and put back; test_exim_cut.py cuts real ones off at every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd.errors import ConfigError
from popauthd.eximsetup import undo
from popauthd.eximsetup.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "exim4").mkdir()
    return Site(confdir=tmp_path / "exim4", acl_file=tmp_path / "exim-acl", work=tmp_path / "work")


def test_a_change_is_noted_until_its_end(site: Site) -> None:
    changed = {site.acl_file: (None, "after"), site.macros_file: ("before caf\udce9", "after")}
    assert undo.noted(site) is None
    assert undo.told(site) == ""
    undo.begin(site, "enable", changed)
    found = undo.noted(site)
    assert found is not None
    assert (found.step, found.changed) == ("enable", changed)
    assert site.note.stat().st_mode & 0o777 == 0o600
    assert undo.told(site).startswith("`popauthctl exim enable` of ")
    undo.end(site)
    assert undo.noted(site) is None


def test_files_are_put_back_as_they_were_and_only_those_that_are_named(site: Site) -> None:
    for path in site.files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("after")
    changed = {site.acl_file: (None, "after"), site.hook_file: ("a", "after"), site.macros_file: ("b", "after")}
    undo.put_back(changed, [site.acl_file, site.macros_file])
    assert not site.acl_file.exists()
    assert site.macros_file.read_text() == "b"
    assert site.hook_file.read_text() == "after"


def test_a_dry_run_does_not_undo_a_change(site: Site) -> None:
    undo.begin(site, "disable", {site.acl_file: ("before", "after")})
    with pytest.raises(ConfigError, match=r"`popauthctl exim disable` of .* leave out --dry-run"):
        undo.what_was_cut_off(site, asked=True, dry_run=True, say=print)
    assert undo.noted(site) is not None


def test_without_a_note_there_is_nothing_to_undo(site: Site) -> None:
    said: list[str] = []
    undo.what_was_cut_off(site, asked=True, dry_run=False, say=said.append)
    assert said == []
