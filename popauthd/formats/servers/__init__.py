"""The FORMATS table: one row for each server whose logins can be read.

To add a server, write a file with its grammar and its row, name the row here, and put sample lines into tests/corpus.
row.py says what a row holds. A grammar gets the message after the header (see framing.py), and knows nothing of
headers, times or policy.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from popauthd.formats.row import Format, Known
from popauthd.formats.servers import (
    courier,
    cucipop,
    cyrus,
    dovecot,
    dovecot_proxy,
    gnu_pop3d,
    nginx,
    perdition,
    popa3d,
    qpopper,
    solid_pop3d,
    stalwart,
    teapop,
    tpop3d,
    uw,
    vm_pop3d,
    vpopmail,
    zimbra,
)


def _dovecot(row: Format, known: Known) -> Format:
    if not known.rip_last:
        return row
    return replace(row, read=partial(dovecot_proxy.read if row.proxies else dovecot.read, rip_last=True))


_DOVECOT = (
    Format(
        name=dovecot_proxy.NAME,
        part_of="dovecot",
        programs=("dovecot",),
        read=dovecot_proxy.read,
        triggers=dovecot.TRIGGERS,
        looks_like_login=dovecot.looks_like_login,
        since="Dovecot 1.0 to 2.4, as a proxy",
        source="dovecot/core src/login-common/client-common-auth.c, login-proxy.c at 2.0.15 to 2.4.4; samples only",
        own="dovecot",
        renamed=True,
        proxies=True,
        adapted=_dovecot,
    ),
    Format(
        name=dovecot.NAME,
        part_of="dovecot",
        programs=("dovecot",),
        read=dovecot.read,
        triggers=dovecot.TRIGGERS,
        ending=dovecot.ENDING,
        looks_like_login=dovecot.looks_like_login,
        since="Dovecot 1.0 to 2.4",
        source="dovecot/core src/login-common/login-settings.c, client-common.c",
        real="2.3.19.1 and 2.4.1",
        own="dovecot",
        renamed=True,  # instance_name is the syslog identifier
        adapted=_dovecot,
    ),
    Format(
        name=dovecot.OLD_NAME,
        part_of="dovecot",
        programs=(),
        read=dovecot.read_old,
        triggers=dovecot.TRIGGERS,
        looks_like_login=dovecot.looks_like_login,
        since="Dovecot 0.99",
        source="pop-before-smtp's configuration; wiki2.dovecot.org HowTo/PopBSMTPAndDovecot; no server source seen",
        own="dovecot-0.99",
    ),
)

FORMATS: tuple[Format, ...] = (
    *_DOVECOT,
    *courier.ROWS,
    *cyrus.ROWS,
    *uw.ROWS,
    *qpopper.ROWS,
    *popa3d.ROWS,
    *solid_pop3d.ROWS,
    *vm_pop3d.ROWS,
    *teapop.ROWS,
    *tpop3d.ROWS,
    *gnu_pop3d.ROWS,
    *cucipop.ROWS,
    *perdition.ROWS,
    *vpopmail.ROWS,
    *zimbra.ROWS,
    *nginx.ROWS,
    *stalwart.ROWS,
)
