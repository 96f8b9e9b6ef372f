"""The networks that Debian's Exim lets relay whether popauthd grants or not: `dc_relay_nets`."""

from __future__ import annotations

from popauthd import address
from popauthd.as_user import read_plain

EXIM_SETTINGS = "/etc/exim4/update-exim4.conf.conf"
SETTINGS_BYTES = 1 << 20


def relay_net(client: address.Address, path: str = "") -> str:
    """The item of dc_relay_nets that an address lies in; "" if it is in none, or there is no such file to be read."""
    try:
        text = read_plain(path or EXIM_SETTINGS, SETTINGS_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name == "dc_relay_nets":
            return next((item for item in _items(value.strip("'\"")) if _has(item, client)), "")
    return ""


def _items(text: str) -> list[str]:
    """A list as debconf keeps it: `;` between the items, or `:` where no IPv6 address is among them."""
    return [word.strip() for word in text.split(";" if ";" in text else ":") if word.strip()]


def _has(item: str, client: address.Address) -> bool:
    try:
        return address.inside(client, (address.network(item),))
    except ValueError:  # a host's name
        return False
