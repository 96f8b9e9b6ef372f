"""Whether Dovecot tells popauthd of logins as popauthd expects it: the check `push`, in both languages of doveconf -n.

The texts are what doveconf -n of 2.3.19.1 and of 2.4.1 prints for popauthd's own snippets.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from popauthd.dovecotcheck import Finding, World, judge
from tests.support.doveconf_texts import FILE, FOLLOWED, NEW, OLD, configuration

SECRET = "0123456789abcdefSECRET"
SCRIPT = "/usr/lib/popauthd/post-login"


def script(protocol: str, listener: str = "") -> str:
    return f"""service {protocol} {{
  executable = {protocol} popauthd-{protocol}
}}
service popauthd-{protocol} {{
  executable = script-login {SCRIPT} {protocol}
  extra_groups = Debian-exim
  user = dovecot
{listener}}}
"""


LISTENER = "  unix_listener popauthd-{0} {{\n  }}\n"
SCRIPTS = {
    "2.3": OLD + "protocols = imap pop3\n" + script("imap") + script("pop3"),
    "2.4": NEW
    + "protocols {\n  imap = yes\n  pop3 = yes\n}\n"
    + "".join(script(protocol, LISTENER.format(protocol)) for protocol in ("imap", "pop3")),
}
REPORTS = {
    "2.3": f"""{OLD}auth_policy_check_after_auth = no
auth_policy_check_before_auth = no
auth_policy_hash_nonce = # hidden, use -P to show it
auth_policy_request_attributes = login=%{{user}} remote=%{{rip}} nologin=%{{passdb:nologin:no}} \
proxy=%{{passdb:proxy:no}}
auth_policy_server_api_header = X-API-Key:{SECRET}
auth_policy_server_url = http://127.0.0.1:4001/
protocols = imap pop3
""",
    "2.4": f"""{NEW}auth_policy {{
  check_after_auth = no
  check_before_auth = no
  hash_nonce = # hidden, use -P to show it
  reject_on_fail = no
  report_after_auth = yes
  request_attributes {{
    device_id = %{{client_id}}
    login = %{{user}}
    nologin = %{{passdb:nologin | default('no')}}
    proxy = %{{passdb:proxy | default('no')}}
    pwhash = -
    remote = %{{remote_ip}}
  }}
  server_api_header = X-API-Key:{SECRET}
  server_url = http://127.0.0.1:4001/
}}
""",
}
PUSHED = World(post_login=True, push_users=("dovecot",))
POLICY = World(auth_policy="127.0.0.1:4001")
BRANCHES = ["2.3", "2.4"]


def push(text: str, world: World) -> list[Finding]:
    findings = [finding for finding in judge(configuration(text), world) if finding.check == "push"]
    assert all(SECRET not in finding.seen + finding.advice for finding in findings)
    assert all(finding.advice for finding in findings if finding.severity != "ok")
    return findings


def changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("head", [OLD, NEW], ids=BRANCHES)
def test_without_either_logins_come_from_a_log(head: str) -> None:
    assert push(head + FILE, FOLLOWED) == [Finding("push", "ok", "logins come from a log")]


@pytest.mark.parametrize("branch", BRANCHES)
def test_popauthds_own_snippets_are_fine(branch: str) -> None:
    (found,) = push(SCRIPTS[branch], PUSHED)
    assert (found.severity, found.seen) == ("ok", "Dovecot's script tells of imap and pop3 as dovecot")
    (found,) = push(REPORTS[branch], POLICY)
    assert (found.severity, found.seen) == ("ok", "Dovecot reports logins to http://127.0.0.1:4001/")


NO_POP3 = ("executable = pop3 popauthd-pop3", "executable = pop3 -x")
SCRIPT_ROWS = [
    ("nobody hears it", [], World(), ["post_login = false: nobody hears it"]),
    ("a protocol without it", [NO_POP3], PUSHED, ["does not run popauthd's script for pop3:"]),
    ("a protocol without it that does not count", [NO_POP3], replace(PUSHED, protocols=("imap",)), []),
    ("none at all", [("script-login", "something-else")], PUSHED, ["popauthd's script for imap and pop3:"]),
    ("behind another script", [(SCRIPT, f"/usr/local/bin/mine {SCRIPT}")], PUSHED, []),
    ("with options, a whole path", [("script-login /", "/usr/lib/dovecot/script-login -d /")], PUSHED, []),
    ("the wrong word", [(f"{SCRIPT} pop3", f"{SCRIPT} imap")], PUSHED, ["script for pop3:"]),
    ("as root", [("  user = dovecot\n", "")], World(post_login=True), []),
    ("as a user that is not heard", [("user = dovecot", "user = vmail")], PUSHED, ["as vmail, who is not heard"]),
    ("as nobody that is named", [], World(post_login=True), ["as dovecot, who is not heard"]),
    ("as Dovecot's own user, 2.3", [("user = dovecot", "user = $default_internal_user")], PUSHED, []),
    ("as Dovecot's own user, 2.4", [("user = dovecot", "user = $SET:default_internal_user")], PUSHED, []),
    ("not for strangers", [(SCRIPT, "/usr/local/bin/postlogin.sh")], World(), None),
]  # fmt: skip


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize(
    ("pairs", "world", "said"), [row[1:] for row in SCRIPT_ROWS], ids=[row[0] for row in SCRIPT_ROWS]
)
def test_a_script_that_does_not_fit_is_told(
    branch: str, pairs: list[tuple[str, str]], world: World, said: list[str] | None
) -> None:
    found = push(changed(SCRIPTS[branch], *pairs), world)
    if not said:
        assert [finding.severity for finding in found] == ["ok"]
        assert (found[0].seen == "logins come from a log") is (said is None)
        return
    assert [finding.severity for finding in found] == ["warning"] * len(said)
    assert all(words in finding.seen for words, finding in zip(said, found, strict=True)), found


@pytest.mark.parametrize("branch", BRANCHES)
def test_what_is_missing_in_dovecot_names_the_snippet_of_its_branch(branch: str) -> None:
    head = {"2.3": OLD, "2.4": NEW}[branch]
    (found,) = push(head, PUSHED)
    assert f"popauthd-post-login-{branch}.conf" in found.advice
    (found,) = push(head, POLICY)
    assert f"popauthd-auth-policy-{branch}.conf" in found.advice
    assert "reports no login" in found.seen


def test_a_protocol_that_dovecot_does_not_speak_is_not_missed() -> None:
    old = changed(OLD + "protocols = imap pop3\n" + script("imap"), ("imap pop3", "imap lmtp"))
    new = changed(NEW + "protocols {\n  imap = yes\n  pop3 = no\n}\n" + script("imap"))
    for text in (old, new):
        assert [finding.severity for finding in push(text, PUSHED)] == ["ok"]


def test_a_listener_of_another_name_is_what_is_asked() -> None:
    text = changed(
        SCRIPTS["2.4"],
        ("executable = imap popauthd-imap", "executable = imap asked"),
        ("unix_listener popauthd-imap", "unix_listener asked"),
    )
    assert [finding.severity for finding in push(text, PUSHED)] == ["ok"]


URL = "http://127.0.0.1:4001/"
POLICY_ROWS = [
    ("nobody hears it", [], World(), [("warning", "nobody hears it")]),
    ("another port", [(":4001/", ":4002/")], POLICY, [("warning", "it reports to somebody else")]),
    ("another host", [(URL, "http://192.0.2.1:4001/")], POLICY, [("warning", "http://192.0.2.1:4001/")]),
    ("another server, with a password", [(URL, f"https://u:{SECRET}@wf.example.org/?k={SECRET}")], POLICY,
     [("warning", "https://wf.example.org/, popauthd listens on http://127.0.0.1:4001/")]),
    ("no URL at all", [(URL, "http://[")], POLICY, [("warning", "it reports to somebody else")]),
    ("another server, which is not our business", [(URL, "https://wf.example.org/")], World(), None),
    ("without a last slash", [(URL, URL.rstrip("/"))], POLICY, []),
    ("another path", [(URL, URL + "allow")], POLICY, [("warning", "http://127.0.0.1:4001/allow")]),
    ("by name", [(URL, "http://localhost:4001/")], POLICY, []),
    ("IPv6", [(URL, "http://[0:0::1]:4001/")], World(auth_policy="[::1]:4001"), []),
    ("another header", [("X-API-Key:", "Authorization: ")], POLICY, [("warning", "every report is refused")]),
    ("no secret", [(f"X-API-Key:{SECRET}", "X-API-Key:")], POLICY, [("warning", "every report is refused")]),
    ("the header in other letters", [("X-API-Key:", "x-api-key: ")], POLICY, []),
    ("asked before", [("check_before_auth = no", "check_before_auth = yes")], POLICY,
     [("ok", "reports logins"), ("note", "auth_policy_check_before_auth: each login waits")]),
]  # fmt: skip


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize(
    ("pairs", "world", "said"), [row[1:] for row in POLICY_ROWS], ids=[row[0] for row in POLICY_ROWS]
)
def test_reports_that_do_not_fit_are_told(
    branch: str, pairs: list[tuple[str, str]], world: World, said: list[tuple[str, str]] | None
) -> None:
    found = push(changed(REPORTS[branch], *pairs), world)
    if not said:
        assert [finding.severity for finding in found] == ["ok"]
        assert (found[0].seen == "logins come from a log") is (said is None)
        return
    assert [finding.severity for finding in found] == [severity for severity, _words in said]
    assert all(words in finding.seen for (_severity, words), finding in zip(said, found, strict=True)), found


LINES = [
    ("2.3", "auth_policy_report_after_auth = no\n", [("warning", "no login is reported"), ]),
    ("2.3", "auth_policy_request_attributes = login=%{user} remote=%{rip}\n", [("warning", "has no proxy, nologin")]),
    ("2.3", "auth_policy_request_attributes = proxy=%{passdb:proxy:no}\n", [("warning", "no login, remote, nologin")]),
    ("2.3", "auth_policy_reject_on_fail = yes\n", [("ok", ""), ("note", "does nothing")]),
    ("2.3", "auth_policy_reject_on_fail = yes\nauth_policy_check_after_auth = yes\n",
     [("ok", ""), ("warning", "nobody can log in while popauthd is away")]),
]  # fmt: skip


@pytest.mark.parametrize(("branch", "more", "said"), LINES, ids=[row[1].strip() for row in LINES])
def test_what_stands_last_counts(branch: str, more: str, said: list[tuple[str, str]]) -> None:
    found = push(REPORTS[branch] + more, POLICY)
    assert [finding.severity for finding in found] == [severity for severity, _words in said]
    assert all(words in finding.seen for (_severity, words), finding in zip(said, found, strict=True)), found


BLOCK = [
    ("report_after_auth = yes", "report_after_auth = no", "no login is reported"),
    ("    proxy = %{passdb:proxy | default('no')}\n", "", "has no proxy"),
    ("    login = %{user}\n", "    login =\n", "has no login"),
]


@pytest.mark.parametrize(("old", "new", "said"), BLOCK)
def test_what_the_block_of_a_2_4_lacks_is_told(old: str, new: str, said: str) -> None:
    (found,) = push(changed(REPORTS["2.4"], (old, new)), POLICY)
    assert found.severity == "warning"
    assert said in found.seen


def test_reports_in_2_3s_language_are_told_on_2_4() -> None:
    (found,) = push(changed(REPORTS["2.4"], ("remote = %{remote_ip}", "remote = %r")), POLICY)
    assert (found.severity, found.fault) == ("warning", True)
    assert "has %r, which is another Dovecot's language" in found.seen
    assert "popauthd-auth-policy-2.4.conf" in found.advice


TLS_FIELD = "userdb passwd {{\n  fields {{\n    popauthd_session = %{{session}}\n    popauthd_tls = {}\n  }}\n}}\n"
FIELDS = [
    ("2.4", TLS_FIELD.format("%c"), True),
    ("2.4", TLS_FIELD.format("%{secured}"), False),
    ("2.3", "userdb {\n  override_fields = popauthd_session=%{session} popauthd_tls=%c\n}\n", False),
]


@pytest.mark.parametrize(("branch", "block", "told"), FIELDS)
def test_a_field_of_userdb_in_another_language_is_told(branch: str, block: str, told: bool) -> None:
    (found,) = push(SCRIPTS[branch] + block, PUSHED)
    assert (found.severity == "warning") is told
    assert ("userdb gives the script %c" in found.seen) is told


def test_the_attributes_that_dovecot_sends_by_itself_are_not_enough() -> None:
    for branch, head in (("2.3", OLD), ("2.4", NEW)):
        lines = [line.strip() for line in REPORTS[branch].splitlines() if "server_" in line]
        text = head + "".join(f"auth_policy_{line.removeprefix('auth_policy_')}\n" for line in lines)
        found = push(text, POLICY)
        assert [finding.severity for finding in found] == ["warning", "note"]
        assert "has no proxy, nologin:" in found[0].seen


def test_both_ways_are_judged() -> None:
    both = SCRIPTS["2.3"] + REPORTS["2.3"].removeprefix(OLD)
    found = push(both, World(post_login=True, push_users=("dovecot",), auth_policy="127.0.0.1:4001"))
    assert [finding.severity for finding in found] == ["ok", "ok"]
