"""The words of Dovecot's login and session-end lines, 1.x to 2.4, as patterns in bytes.

    imap-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.1, lip=198.51.100.5, mpid=42, TLS, session=<aKTn/AB>
    imap(alice)<42><aKTn/AB>: Disconnected: Logged out in=50 out=300

The grammar (servers/dovecot.py) and the fast path (fast_path.py) are both built from these words. The grammar
allows more: any order of the elements, elements that an administrator has added or left out, and more ends.

Source: Dovecot src/login-common (login-settings.c, client-common.c) and lib-storage/mail-storage-service.c.
"""

from __future__ import annotations

SERVICE = rb"imap|pop3"  # the services whose logins count
LOGIN_PROCESS = rb"-login: "  # follows the service
WORDS = (b"Login", b"Logged in")
SUCCESS = rb"(?:%b): " % b"|".join(WORDS)
JOIN = rb", "  # between two elements of a login
# How the text of a session's end begins: 2.4 and late 2.3 say `Disconnected: ` and the reason, early 2.3 the reason
# alone (client_destroy and client_disconnect in src/imap, src/pop3, src/imap-hibernate).
ENDED = rb"Disconnected: |Disconnected for inactivity|Logged out |Connection closed|Server shutting down\."

# The elements of a login.
USER, METHOD, RIP, LIP, MPID, SESSION = "user", "method", "rip", "lip", "mpid", "session"
SECURED, TLS = b"secured", b"TLS"  # these two have no name
IN_BRACKETS = (USER, SESSION)

USER_BYTE = rb"[^<>\x00\r\n]"  # A NUL stands for a hole that a crash left. A CR never comes from Dovecot.
METHOD_VALUE = rb"[A-Z0-9_-]{1,20}"  # RFC 4422 3.1
ANONYMOUS = b"ANONYMOUS"  # the method that needs no password
PROCESS_ID = rb"[0-9]{1,10}+"
SESSION_VALUE = rb"[A-Za-z0-9+/:._@-]{1,255}"
# %k, in 2.4 ssl_security. An old OpenSSL names the compression.
CIPHER = (
    rb"(?:TLS|SSL)v[0-9.]{1,5} with cipher [A-Za-z0-9_-]{1,64} \([0-9]{1,4}/[0-9]{1,4} bits\)"
    rb"(?: (?:zlib|run length) compression)?"
)


def begin(name: str) -> bytes:
    """How an element with a name begins: `user=<` or `rip=`."""
    return name.encode() + (b"=<" if name in IN_BRACKETS else b"=")


def element(name: str, value: bytes) -> bytes:
    """The pattern of one element of a login, with this pattern for its value."""
    return begin(name) + value + (b">" if name in IN_BRACKETS else b"")


def end_head(user: bytes, session: bytes) -> bytes:
    """The pattern of what follows the service in a session's last line, up to the level or the text.

    user, session: groups, named or not, around the patterns of the two.
    """
    return rb"\(" + user + rb"\)<" + PROCESS_ID + rb"><" + session + rb">: "
