"""The checks of Dovecot's configuration, one function each, in one table.

LIMIT: a balancer that hands connections on without the PROXY protocol cannot be seen here; `shared_users` and
`popauthctl status` show it when logins come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from popauthd.dovecotcheck import elements, origins, push_snippets, variables
from popauthd.dovecotcheck.doveconf import DEFAULTS, NEW_DEFAULTS, Configuration
from popauthd.dovecotcheck.findings import SNIPPETS, Finding, World
from popauthd.formats.timestamps import Stamps
from popauthd.model import Refusal
from popauthd.text import safe

Found = Iterator[Finding]
# What a user name would need to look like the end of one element and the beginning of another.
WIDE = '<>,="'
COSTS = {
    "user": "no login is recognised",
    "rip": "no login is recognised: its address is not told",
    "method": "an ANONYMOUS login cannot be told from others",
    "session": "sessions are not held: a client that stays connected may relay for the lifetime only",
}
UNDERSTOOD = (DEFAULTS["log_timestamp"].rstrip(), "%Y-%m-%d %H:%M:%S", "%F %T")


def judge(configuration: Configuration, world: World) -> list[Finding]:
    """Every finding, in the order of the table; each check says something."""
    return [finding for check in CHECKS.values() for finding in check(configuration, world)]


def username_chars(configuration: Configuration, world: World) -> Found:
    """Whether a user name can forge a line, or make its own unreadable."""
    word = "auth_username_chars"
    chars = configuration.value(word)
    keep = f"take the line {word} out of Dovecot's configuration: its default is safe"
    control = sorted({char for char in chars if not char.isprintable()})
    wide = sorted({char for char in chars if char in WIDE or char.isspace()})
    if configuration.old and (not chars or control):
        how = "is empty" if not chars else f"holds {safe(''.join(control))!r}"
        severity = "warning" if world.pushed and not world.sources else "danger"
        yield Finding(
            word,
            severity,
            f"{how}: on Dovecot 2.3 a user name can write a whole forged login into the log, and no reader can tell",
            keep,
        )
    elif not chars:
        yield Finding(word, "note", "is empty: names with brackets or commas in them are refused", keep)
    elif wide or control:
        said = f"holds {safe(''.join(wide + control))!r}: names with these can look like something else"
        yield Finding(word, "warning", said, keep)
    else:
        yield Finding(word, "ok", f"{len(set(chars))} harmless characters")


def log_elements(configuration: Configuration, world: World) -> Found:
    """Whether a login is written with all that popauthd needs, everywhere, and in a form that it reads."""
    word = "login_log_format_elements"
    findings = [*_foreign_format(configuration)]
    told = any(source.rip_last for source in world.sources)
    for where, value in configuration.everywhere(word):
        place = f"within {safe(where)} " if where else ""
        findings += [*_foreign_elements(configuration, place, value)] or [*_missing(configuration, place, value)]
        if not any(finding.fault for finding in findings):
            findings += _not_read(configuration, place, value, rip_last=told)
    yield from findings
    if not findings:
        yield Finding(word, "ok", "user, method, rip and session are written, in a form that is read")


def _language(configuration: Configuration) -> tuple[str, str]:
    """The version that runs and the other one, whose language it does not understand."""
    return ("2.3", "2.4") if configuration.old else ("2.4", "2.3")


def _replacement(configuration: Configuration) -> str:
    here, other = _language(configuration)
    return f"{SNIPPETS}/popauthd-{here}.conf takes the place of popauthd-{other}.conf"


def _foreign_format(configuration: Configuration) -> Found:
    layout = configuration.value("login_log_format")
    here, other = _language(configuration)
    if variables.foreign(layout, old=configuration.old):
        seen = f"login_log_format = {safe(layout)} is the language of Dovecot {other}: {here} writes no login in it"
        advice = f"take login_log_format out of Dovecot's configuration ({_replacement(configuration)})"
        yield Finding("login_log_format_elements", "warning", seen, advice, fault=True)


def _foreign_elements(configuration: Configuration, place: str, value: str) -> Found:
    """What an upgrade of Dovecot leaves behind: the variables of the other version."""
    words = variables.foreign(value, old=configuration.old)
    lost = elements.missing(configuration, value)
    if words:
        here, other = _language(configuration)
        seen = f"{place}has {' '.join(map(safe, words))}, the language of Dovecot {other}: {here} does not write "
        advice = f"take it out of Dovecot's configuration: the default is read ({_replacement(configuration)})"
        what = f"{' and '.join(lost)}, and {COSTS[lost[0]]}" if lost else "what they stand for"
        fault = bool({"user", "rip", "method"} & {*lost})
        severity = "warning" if fault else "note"
        yield Finding("login_log_format_elements", severity, seen + what, advice, fault=fault)


def _missing(configuration: Configuration, place: str, value: str) -> Found:
    severities = {"user": "warning", "rip": "warning", "session": "note"}
    severities["method"] = "danger" if _lets_anybody_in(configuration) else "warning"
    for name in elements.missing(configuration, value):
        needed = elements.spelling(name, old=configuration.old)
        seen = f"{place}has no {needed}: {COSTS[name]}"
        fault = name in ("user", "rip")
        yield Finding("login_log_format_elements", severities[name], seen, f"add {needed}", fault=fault)


def _not_read(configuration: Configuration, place: str, value: str, *, rip_last: bool) -> Found:
    event = elements.sample(configuration, value, rip_last=rip_last)
    word = "login_log_format_elements"
    if rip_last and elements.sample(configuration, value) == event:
        seen = f"{place}does not end with rip, and rip_last is set: a line that was cut within its address would count"
        yield Finding(word, "danger", seen, "take rip_last out of the [[source]]")
        return
    if elements.is_taken(event):
        return
    why = event.reason if isinstance(event, Refusal) else "not a login"
    seen = f"{place}together with login_log_format gives a line that popauthd does not take: {why}"
    advice = f"take {word} and login_log_format out: the defaults are read"
    if why == "torn":
        session = elements.spelling("session", old=configuration.old)
        advice = f"in the [[source]] set rip_last = true, or put {session} behind rip: a line may be cut there"
    elif bare := [safe(one) for one in elements.unread(configuration, value)]:
        advice = f"popauthd does not read {' '.join(bare)}: give it a name, as in x={bare[0]}, or take it out"
    elif configuration.value("login_log_format") == NEW_DEFAULTS["login_log_format"]:
        session = elements.spelling("session", old=False)
        advice = f"the last element may be empty, which leaves a comma: put {session} at the end"
    yield Finding(word, "warning", seen, advice, fault=True)


def session_ids(configuration: Configuration, world: World) -> Found:
    """Whether the end of a session says which it was."""
    word = "mail_log_prefix"
    prefixes = list(configuration.everywhere(word))
    bad = [place for place, value in prefixes if not elements.ends(configuration, value)]
    foreign = [name for _place, value in prefixes for name in variables.foreign(value, old=configuration.old)]
    advice = f"take {word} out of Dovecot's configuration"
    if bad and foreign:
        here, other = _language(configuration)
        seen = f"has {' '.join(map(safe, foreign))}, the language of Dovecot {other}: on {here} a client may get an "
        seen += "internal error after its login, and its session is held until hold_at_most is over"
        yield Finding(word, "warning", seen, f"{advice} ({_replacement(configuration)})", fault=True)
    elif not bad or not world.hold_sessions:
        yield Finding(word, "ok", "sessions are not held" if bad else "ends of sessions carry the session's id")
    elif len(bad) == len(prefixes):
        yield Finding(word, "note", "is changed: ends of sessions are not recognised, so none is held", advice)
    else:  # some ends are seen, so all sessions are held
        where = f"within {safe(bad[-1])}" if bad[-1] else "at the top"
        seen = f"is changed {where}: ends of sessions are not recognised there, and held until hold_at_most is over"
        yield Finding(word, "warning", seen, f"{advice}, or set ask_doveadm = true or hold_sessions = false")


def anonymous(configuration: Configuration, _world: World) -> Found:
    """Whether anybody may log in without a password."""
    word = "auth_mechanisms"
    if _lets_anybody_in(configuration):
        seen = "ANONYMOUS is on: anybody may log in without a password (popauthd grants nothing for it)"
        yield Finding(word, "warning", seen, "take it out, unless you have public folders")
    else:
        yield Finding(word, "ok", "ANONYMOUS is off")


def _lets_anybody_in(configuration: Configuration) -> bool:
    return "anonymous" in {name.lower() for name in configuration.words("auth_mechanisms")}


def timestamp(configuration: Configuration, world: World) -> Found:
    """Whether the stamps of Dovecot's own file are read as they are written."""
    word = "log_timestamp"
    layout = configuration.value(word).rstrip()
    kind, path = origins.written(configuration)
    ours = [source for source in world.sources if kind == "file" and origins.same(source, path)]
    wrong = [source for source in ours if (source.timestamp or layout).rstrip() != layout]
    if kind != "file":
        how = "through syslog" if kind == "syslog" else f"to {safe(path)}"
        yield Finding(word, "ok", f"not used: Dovecot logs {how}")
    elif not layout:
        seen = "is empty: the lines carry no time, so no login counts"
        yield Finding(word, "warning", seen, "take log_timestamp out of Dovecot's configuration", fault=True)
    elif layout in UNDERSTOOD and not wrong:
        yield Finding(word, "ok", "one that is understood")
    elif ours and not wrong and all(source.timestamp for source in ours):
        yield Finding(word, "ok", "the same as the source's timestamp")
    else:
        try:
            Stamps("UTC", layout)
        except ValueError as error:
            seen = f"{safe(layout)!r} cannot be read ({safe(str(error), 200)})"
            yield Finding(word, "warning", seen, "take log_timestamp out of Dovecot's configuration")
            return
        advice = f'in the [[source]] with path = "{safe(path)}" set timestamp = "{safe(layout)}"'
        yield Finding(word, "warning", f"is {safe(layout)!r}, and popauthd does not know", advice)


def instance(configuration: Configuration, world: World) -> Found:
    """Whether the name that Dovecot logs under is the one that counts."""
    word = "instance_name"
    name = configuration.value(word)
    through = [source for source in world.sources if not origins.own_file(configuration, source)]
    if origins.written(configuration)[0] != "syslog" or all(name in source.programs for source in through):
        yield Finding(word, "ok", f"{safe(name)}")
    else:
        advice = f'in the [[source]] set programs = ["{safe(name)}"]'
        yield Finding(word, "warning", f"is {safe(name)!r}: its lines do not count under another name", advice)


CHECKS: dict[str, Callable[[Configuration, World], Found]] = {
    "source": origins.source,
    "follows": origins.follows,
    "push": push_snippets.push,
    "log-file": origins.log_file,
    "forgeable": origins.forgeable,
    "rate-limit": origins.rate_limit,
    "proxy": origins.proxies,
    "auth_username_chars": username_chars,
    "login_log_format_elements": log_elements,
    "mail_log_prefix": session_ids,
    "auth_mechanisms": anonymous,
    "log_timestamp": timestamp,
    "instance_name": instance,
}
