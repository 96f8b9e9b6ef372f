"""Whether Dovecot tells popauthd of logins itself as popauthd expects it, and the other way round: the check `push`.

What is expected is what the snippets of dovecot/ say. Neither the secret nor an address that may hold one is shown.

LIMIT: a service that runs our script behind another name, or through another script, is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from popauthd.dovecotcheck.doveconf import Configuration
from popauthd.dovecotcheck.findings import Finding, World
from popauthd.dovecotcheck.variables import foreign
from popauthd.sources.push.messages import PROTOCOLS, UNLESS_NO
from popauthd.text import safe

Found = Iterator[Finding]
SCRIPT = "/post-login"
ATTRIBUTES = ("login", "remote", *UNLESS_NO)
# Variables of Dovecot's that stand for a user, with the setting they mean and its default.
USERS = {"default_internal_user": "dovecot", "default_login_user": "dovenull"}
ASKED = ("auth_policy_check_before_auth", "auth_policy_check_after_auth")
REPORT, REJECT = "auth_policy_report_after_auth", "auth_policy_reject_on_fail"
URL, HEADER = "auth_policy_server_url", "auth_policy_server_api_header"
REQUEST = "auth_policy_request_attributes"


class Script(NamedTuple):
    """A service that runs our script: by which names others ask it, of which protocol it tells, and who it is."""

    names: frozenset[str]
    protocol: str
    user: str


def push(configuration: Configuration, world: World) -> Found:
    """Whether each login is told, by script or report, and somebody listens."""
    script, policy = _script(configuration, world), _policy(configuration, world)
    findings = [*script, *policy]
    yield from findings or [Finding("push", "ok", "logins come from a log")]


def _warning(seen: str, advice: str) -> Finding:
    return Finding("push", "warning", seen, advice, fault=True)


def _snippet(configuration: Configuration, way: str) -> str:
    branch = "2.3" if configuration.old else "2.4"
    return f"popauthd-{way}-{branch}.conf"


def _script(configuration: Configuration, world: World) -> Found:
    """What there is to say of the post-login script; nothing if neither side has heard of it."""
    served = [protocol for protocol in PROTOCOLS if _served(configuration, protocol)]
    run = {protocol: found for protocol in served if (found := _asked(configuration, protocol))}
    if not world.post_login:
        if run:
            seen = f"Dovecot runs popauthd's script for {' and '.join(run)}, and post_login = false: nobody hears it"
            advice = "in popauthd.toml set post_login = true and push_users; or take the script out of Dovecot"
            yield _warning(seen, f"{advice}: each login waits for it")
        return
    wanted = [protocol for protocol in served if protocol in world.protocols]
    untold = [protocol for protocol in wanted if protocol not in run or run[protocol].protocol != protocol]
    deaf = {script.user for script in run.values()} - {"root", *world.push_users}
    if untold:
        seen = f"post_login = true, and Dovecot does not run popauthd's script for {' and '.join(untold)}"
        into = f"put {_snippet(configuration, 'post-login')} into /etc/dovecot/conf.d/ (dovecot/README.md)"
        yield _warning(f"{seen}: such logins are not told", f"{into}, then restart Dovecot")
    for user in sorted(deaf):
        seen = f"Dovecot runs popauthd's script as {safe(user)}, who is not heard"
        yield _warning(seen, f'in popauthd.toml add "{safe(user)}" to push_users, then restart popauthd')
    fields = [line.value for line in configuration.within("userdb") if "popauthd_" in f"{line.key}={line.value}"]
    if words := foreign(" ".join(fields), old=configuration.old):
        seen = f"userdb gives the script {safe(' '.join(words))}, which is another Dovecot's language: TLS is not told"
        yield _warning(seen, f"see the end of {_snippet(configuration, 'post-login')} (dovecot/README.md)")
    elif not untold and not deaf:
        users = ", ".join(sorted({safe(run[protocol].user) for protocol in wanted}))
        yield Finding(
            "push", "ok", f"Dovecot's script tells of {' and '.join(wanted) or 'no protocol'} as {users or 'nobody'}"
        )


def _served(configuration: Configuration, protocol: str) -> bool:
    """Whether Dovecot speaks a protocol; if it does not say, we take it that it does."""
    words = configuration.words("protocols")
    return not words or protocol in words


def _asked(configuration: Configuration, protocol: str) -> Script | None:
    """The script that Dovecot asks after a protocol's login."""
    given = _service(configuration, f"service {protocol}").get("executable", "").split()[1:]
    return next((script for script in _scripts(configuration) if script.names & set(given)), None)


def _scripts(configuration: Configuration) -> Iterator[Script]:
    for head in dict.fromkeys(block[0] for block in configuration.blocks if block[0].startswith("service ")):
        settings = _service(configuration, head)
        program, *words = settings.get("executable", "").split() or [""]
        place = next((number for number, word in enumerate(words) if word.endswith(SCRIPT)), None)
        if not program.endswith("script-login") or place is None:
            continue
        inner = [block[1] for block in configuration.blocks if block[0] == head and len(block) == 2]
        names = {name for kind, _, name in (one.partition(" ") for one in (head, *inner)) if kind != "inet_listener"}
        protocol = next((word for word in words[place + 1 :] if word in PROTOCOLS), "")
        yield Script(frozenset(names), protocol, _user(configuration, settings.get("user", "")))


def _service(configuration: Configuration, head: str) -> dict[str, str]:
    return {line.key: line.value for line in configuration.lines if line.inside == (head,)}


def _user(configuration: Configuration, text: str) -> str:
    name = text.removeprefix("$").removeprefix("SET:") if text.startswith("$") else ""
    return (configuration.value(name) or USERS[name]) if name in USERS else text or "root"


def _policy(configuration: Configuration, world: World) -> Found:
    """What there is to say of reports to an auth policy server; nothing if popauthd is none of its business."""
    url, ours = configuration.value(URL), world.auth_policy
    if not ours:
        if url and _local(url) and set(UNLESS_NO) <= set(_attributes(configuration)):
            seen = f"Dovecot reports logins to {_place(url)} as popauthd's snippet says, and nobody hears it"
            yield _warning(seen, "in popauthd.toml set auth_policy_listen, or take the snippet out of Dovecot")
        return
    into = f"see {_snippet(configuration, 'auth-policy')} (dovecot/README.md), then restart Dovecot"
    troubles = [*_troubles(configuration, ours)]
    for seen in troubles:
        yield _warning(seen, into)
    if not troubles:
        yield Finding("push", "ok", f"Dovecot reports logins to {_place(url)}")
    if url:
        yield from _asking(configuration, into)


def _asking(configuration: Configuration, into: str) -> Found:
    """Whether a login waits for popauthd, or is refused without it: the snippet has Dovecot report, and never ask."""
    waits = [key for key in ASKED if configuration.value(key) != "no"]
    rejects = configuration.value(REJECT) != "no"
    if waits and rejects:
        seen = f"{REJECT} = yes, and {' and '.join(waits)}: nobody can log in while popauthd is away"
        yield _warning(seen, f"set all of them to no: {into}")
    elif waits:
        yield Finding("push", "note", f"{' and '.join(waits)}: each login waits for popauthd", f"set to no: {into}")
    elif rejects:
        yield Finding("push", "note", f"{REJECT} = yes: without any question it does nothing", "set it to no")


def _troubles(configuration: Configuration, ours: str) -> Iterator[str]:
    """Why reports do not reach popauthd, or are of no use to it."""
    url = configuration.value(URL)
    if not url:
        yield f"auth_policy_listen is set, and Dovecot has no {URL}: it reports no login"
        return
    if not _same(url, ours):
        yield f"{URL} is {_place(url)}, popauthd listens on http://{safe(ours)}/: it reports to somebody else"
    name, _, secret = configuration.value(HEADER).partition(":")
    if name.strip().lower() != "x-api-key" or not secret.strip():
        yield f"{HEADER} has no X-API-Key with popauthd's secret: every report is refused"
    if configuration.value(REPORT) != "yes":
        yield f"{REPORT} = no: no login is reported"
    attributes = _attributes(configuration)
    if lacking := [name for name in ATTRIBUTES if not attributes.get(name)]:
        yield f"{REQUEST} has no {', '.join(lacking)}: every report is refused"
    if words := foreign(" ".join(attributes.values()), old=configuration.old):
        yield f"{REQUEST} has {safe(' '.join(words))}, which is another Dovecot's language: reports are of no use"


def _attributes(configuration: Configuration) -> dict[str, str]:
    """What Dovecot reports of a login: name -> the variable."""
    text = configuration.value(REQUEST)
    pairs = (word.partition("=") for word in text.split())
    block = {line.key: line.value for line in configuration.lines if "_".join(line.inside) == REQUEST}
    return block or {name: value for name, _, value in pairs}


def _where(url: str) -> tuple[str, str, int | None, str]:
    """(scheme, host, port, path); all empty if it is no URL."""
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        return "", "", None, ""
    return found.scheme, found.hostname or "", port, found.path


def _place(url: str) -> str:
    """A URL without what may be a secret in it."""
    scheme, host, port, path = _where(url)
    shown = f"[{host}]" if ":" in host else host
    return safe(f"{scheme}://{shown}{'' if port is None else f':{port}'}{path}")


def _local(url: str) -> bool:
    host = _where(url)[1]
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _same(url: str, ours: str) -> bool:
    scheme, host, port, path = _where(url)
    _scheme, our_host, our_port, _path = _where(f"http://{ours}/")
    if (scheme, port, path or "/") != ("http", our_port, "/"):
        return False
    return host == "localhost" or (_local(url) and ip_address(host) == ip_address(our_host))
