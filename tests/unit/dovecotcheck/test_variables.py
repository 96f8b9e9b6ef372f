"""Dovecot's two languages of variables, as 2.3.19.1 and 2.4.1 really expand them."""

from __future__ import annotations

import pytest

from popauthd.dovecotcheck.variables import NEW, OLD, expand, foreign

ROWS = [
    ("2.3", "<%u> %n %d", "<joe@example.org> joe example.org"),
    ("2.3", "%Uu %Ln", "JOE@EXAMPLE.ORG joe"),
    ("2.3", "%3u %4.7u %-3u %-11.7u %4.-4u", "joe example joe example example"),
    ("2.3", "%{rip} %r %{remote_ip}", "192.0.2.10 192.0.2.10 192.0.2.10"),
    ("2.3", "100%% %q %{nothing}", "100% UNSUPPORTED_VARIABLE_q UNSUPPORTED_VARIABLE_nothing"),
    ("2.3", "%{passdb:a} %{if;a;==;b;c;d}", "x x"),
    ("2.3", "%Mn", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
    ("2.4", "<%u> %r %%", "<%u> %r %%"),
    ("2.4", "%{user} %{user|username} %{user | domain}", "joe@example.org joe example.org"),
    ("2.4", "%{user | domain | upper}", "EXAMPLE.ORG"),
    ("2.4", "%{passdb:proxy | default('no')}", "x"),
    ("2.4", "%{user | sha256 | hex}", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
    ("2.4", "rip=%{rip}", None),
    ("2.4", "%{nothing:at all}", None),
]  # fmt: skip


@pytest.mark.parametrize(("branch", "text", "expanded"), ROWS)
def test_a_text_is_expanded_as_the_version_does_it(branch: str, text: str, expanded: str | None) -> None:
    old = branch == "2.3"
    assert expand(text, OLD if old else NEW, old=old) == expanded


FOREIGN = [
    ("2.4", "user=<%u> %Lu %u %{rip} %{session} 5% %z", ["%u", "%Lu", "%{rip}"]),
    ("2.4", "%$: %s", ["%$", "%s"]),
    ("2.4", "%{service}(%{user})<%{process:pid}>", []),
    ("2.3", "%{user | lower} %{message} %{process:pid} %{session} %u %{mechanism}",
     ["%{user | lower}", "%{message}", "%{process:pid}"]),
]  # fmt: skip


@pytest.mark.parametrize(("branch", "text", "found"), FOREIGN)
def test_what_only_the_other_version_understands_is_found(branch: str, text: str, found: list[str]) -> None:
    assert foreign(text, old=branch == "2.3") == found
