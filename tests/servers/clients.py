"""Small POP3, IMAP and SMTP clients that choose their own source address. Plain text, loopback only."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

TIMEOUT_SECONDS = 20.0
USER = "joe@example.org"
PASSWORD = "joespassword"
SENDER = "joe@example.org"


def server_for(source: str) -> str:
    """The loopback address to connect to from a source address: one of the same family."""
    return "::1" if ":" in source else "127.0.0.1"


class _Imap(imaplib.IMAP4):
    """imaplib has no source address of its own."""

    def __init__(self, source: str, port: int) -> None:
        self._source = source
        super().__init__(server_for(source), port, TIMEOUT_SECONDS)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, (self._source, 0))


class _Pop3(poplib.POP3):
    """poplib has no source address of its own."""

    def __init__(self, source: str, port: int) -> None:
        self._source = source
        super().__init__(server_for(source), port, TIMEOUT_SECONDS)

    def _create_socket(self, timeout: float) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, (self._source, 0))


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def pop3_login(source: str, port: int, user: str = USER, password: str = PASSWORD, *, tls: bool = False) -> bool:
    """Log in and out over POP3; False if the server refuses the password."""
    client = _Pop3(source, port)
    try:
        if tls:
            client.stls(_context())
        client.user(user)
        client.pass_(password)
        client.quit()
    except poplib.error_proto:
        client.close()
        return False
    return True


def imap_login(
    source: str, port: int, user: str = USER, password: str = PASSWORD, *, tls: bool = False, browser: str = ""
) -> bool:
    """Log in and out over IMAP; False if the server refuses the password.

    browser: as a webmail, tell by IMAP's ID that this is the client's address.
    """
    client = _Imap(source, port)
    try:
        if browser:
            client.xatom("ID", f'("x-originating-ip" "{browser}")')
        if tls:
            client.starttls(_context())
        client.login(user, password)
        client.logout()
    except imaplib.IMAP4.error:
        client.shutdown()
        return False
    return True


def imap_anonymous(source: str, port: int) -> bool:
    """Log in and out over IMAP as anybody, without a password."""
    client = _Imap(source, port)
    try:
        client.authenticate("ANONYMOUS", lambda _challenge: b"anybody")
        client.logout()
    except imaplib.IMAP4.error:
        client.shutdown()
        return False
    return True


LOGIN: dict[str, Callable[..., bool]] = {"pop3": pop3_login, "imap": imap_login}


class Session:
    """A client that has logged in and stays connected until `leave` or `vanish`."""

    def __init__(self, protocol: str, source: str, port: int, user: str = USER) -> None:
        self.leave: Callable[[], object]  # log out
        self.vanish: Callable[[], object]  # without a word, as a client that loses its network
        if protocol == "imap":
            imap = _Imap(source, port)
            imap.login(user, PASSWORD)
            self.leave, self.vanish = imap.logout, imap.shutdown
        else:
            pop3 = _Pop3(source, port)
            pop3.user(user)
            pop3.pass_(PASSWORD)
            self.leave, self.vanish = pop3.quit, pop3.close


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said to RCPT, or to the first command that failed."""

    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Whether the server took it."""
        return self.code // 100 == 2

    @property
    def refused(self) -> bool:
        """Whether the server refused for good."""
        return self.code // 100 == 5

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def smtp(source: str, port: int) -> smtplib.SMTP:
    """An open SMTP session after EHLO. The caller quits."""
    client = smtplib.SMTP(server_for(source), port, "client.example.net", TIMEOUT_SECONDS, source_address=(source, 0))
    client.ehlo()
    return client


def rcpt(client: smtplib.SMTP, to: str, sender: str = SENDER) -> Reply:
    """Ask for one recipient in an open session; the transaction is reset afterwards."""
    client.mail(sender)
    code, text = client.rcpt(to)
    client.rset()
    return Reply(code, text.decode(errors="replace"))


def ask_rcpt(source: str, port: int, to: str, login: tuple[str, str] | None = None) -> Reply:
    """Connect, maybe authenticate, ask for one recipient and leave."""
    client = smtp(source, port)
    try:
        if login is not None:
            client.login(*login)
        return rcpt(client, to)
    finally:
        client.close()


def send(source: str, port: int, to: str, body: str) -> Reply:
    """Send one message for good; the reply is that to the data, or to the command that was refused."""
    client = smtp(source, port)
    try:
        client.sendmail(SENDER, [to], f"From: {SENDER}\r\nTo: {to}\r\nSubject: hello\r\n\r\n{body}\r\n")
    except smtplib.SMTPRecipientsRefused as error:
        code, text = error.recipients[to]
        return Reply(code, text.decode(errors="replace"))
    finally:
        client.close()
    return Reply(250, "sent")
