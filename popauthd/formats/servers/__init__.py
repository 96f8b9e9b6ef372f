"""The FORMATS table: one row for each server whose logins can be read.

To add a server: a file with its grammar (`read`, the TRIGGERS that read() cannot do without, and
`looks_like_login`) and its row, the row's name here, and sample lines in tests/corpus. A grammar gets
the message after the head (see framing.py) and knows nothing of heads, times or policy.
"""

from __future__ import annotations

from popauthd.formats.row import Format
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

_DOVECOT = (
    Format(
        name=dovecot_proxy.NAME,
        part_of="dovecot",
        programs=("dovecot",),
        read=dovecot_proxy.read,
        triggers=dovecot.TRIGGERS,
        looks_like_login=dovecot.looks_like_login,
        since="Dovecot 1.0 to 2.4, as a proxy",
        source="dovecot/core src/login-common/client-common-auth.c, login-proxy.c; samples only",
        own="dovecot",
        renamed=True,
        proxies=True,
    ),
    Format(
        name=dovecot.NAME,
        part_of="dovecot",
        programs=("dovecot",),
        read=dovecot.read,
        triggers=dovecot.TRIGGERS,
        looks_like_login=dovecot.looks_like_login,
        since="Dovecot 1.0 to 2.4",
        source="dovecot/core src/login-common/login-settings.c, client-common.c",
        real="2.3.19.1 and 2.4.1",
        own="dovecot",
        renamed=True,  # instance_name is the syslog identifier
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
