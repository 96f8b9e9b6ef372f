"""The counters: the name of each, and one sentence that says what is counted under it.

Numbers are kept by day (UTC), for 35 days, in the books (store/books/counters.py). `popauthctl status` shows those of
today with these sentences, and popauthctl(8) lists them. Whoever counts something new adds a row here:
tests/unit/test_counters.py finds a counter that is not listed, and a row that nothing counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from popauthd.reasons import REFUSED

COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        "lines": "A line of a log was read.",
        "login": "A good login was recognised in a log, or Dovecot itself told of it, whatever came of it.",
        "login.twice": "A login that is already counted was told of in a second way: by a log and by Dovecot itself,"
        " or by two logs.",
        "login.failed": "A log tells of a login that failed: a wrong password, mostly. It grants nothing.",
        "granted.by-hand": "An administrator granted an address with `popauthctl grant`.",
        "revoked": "An address could relay until it was revoked.",
        "gap": "Lines of a log are lost, or may be, because no copy of them is left.",
        "books.full": "The books were full, and old entries were forgotten to make room.",
        "books.grown": "The books were full with nothing to forget, and may now take twice the disk space.",
        "map.remade": "The relay map was removed, replaced or cut short, and was made again.",
        "hostlist.writer": "The process that writes a long host list ended or failed; the watcher wrote it by itself.",
        "hostlist.remade": "The host list was removed, replaced or cut short, and was made again.",
        "push.granted": "The post-login script told of a login, and its address may relay.",
        "push.refused": "The post-login script told of a login that was refused.",
        "push.bad": "What came on the post-login socket was not a message of popauthd's script.",
        "push.forbidden": "A user who may not tell of logins connected to the post-login socket (`push_users`).",
        "push.trouble": "The post-login script told of a login that could not be entered into the books.",
        "auth-policy.allow": "Dovecot asked whether a login may go on; it always may.",
        "auth-policy.granted": "Dovecot reported a login, and its address may relay.",
        "auth-policy.refused": "Dovecot reported a login that was refused.",
        "auth-policy.failed": "Dovecot reported a login that failed.",
        "auth-policy.other-service": "Dovecot reported a login to another service than POP and IMAP.",
        "auth-policy.proxied": "Dovecot reported a login that it passed on without looking at the password.",
        "auth-policy.nologin": "Dovecot reported a login that it will not let in (`nologin`).",
        "auth-policy.no-address": "Dovecot reported a login of a program on this host, which has no address.",
        "auth-policy.trouble": "Dovecot reported a login that could not be entered into the books.",
        "auth-policy.400": "A request to the auth policy server was not HTTP, or not a report as Dovecot sends it.",
        "auth-policy.403": "A request to the auth policy server came without the secret.",
        "auth-policy.404": "A request to the auth policy server asked for something that it does not have.",
        "auth-policy.405": "A request to the auth policy server was not a POST.",
        "auth-policy.411": "A request to the auth policy server did not say how long it is.",
        "auth-policy.413": "A request to the auth policy server was too long.",
        "auth-policy.417": "A request to the auth policy server expected an answer before it was sent whole.",
        "auth-policy.431": "A request to the auth policy server had too many headers, or too long ones.",
        "auth-policy.501": "A request to the auth policy server was sent in pieces (a transfer coding).",
        "auth-policy.505": "A request to the auth policy server spoke another version of HTTP than 1.",
        "cluster.login": "Another node told of a login, maybe not for the first time.",
        "cluster.grant": "Another node told of a grant by hand, maybe not for the first time.",
        "cluster.revocation": "Another node told of a revocation, maybe not for the first time.",
        "cluster.refused": "Another node told of a login or a grant that this node's own policy refuses.",
        "cluster.forged": "An entry of the cluster's stream was not signed with a key of this node.",
        "cluster.replayed": "An entry of the cluster's stream was sent again, later than it was signed.",
        "cluster.malformed": "An entry of the cluster's stream was signed well, and what it says cannot be.",
        "cluster.unknown-kind": "An entry of the cluster's stream is of a kind that only a newer version knows.",
        "cluster.gap": "The cluster's stream had lost something; all was read and told again.",
        "cluster.not-sent": "A login counts here alone: other nodes cannot be told of it, as its server cut the user's"
        " name.",
        **{f"refused.{word}": sentence for word, sentence in REFUSED.items()},
    }
)
"""By name. `refused.WORD` counts the lines and logins that were refused for the reason WORD."""
