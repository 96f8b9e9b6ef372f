"""The one place that reads and normalises addresses and networks.

Canonical text is what Python's ipaddress prints: IPv4 in four decimal parts, IPv6 compressed and in
lower case. An IPv4-mapped IPv6 address (::ffff:192.0.2.1) becomes the IPv4 address, or Exim, which
sees the client as IPv4, would never find it. A zone id (fe80::1%eth0) is refused: it names an
interface of one machine, not a client.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST = 45  # bytes: 0000:0000:0000:0000:0000:ffff:255.255.255.255


def parse(text: str) -> Address | None:
    """Read one address, or None if it is not exactly one (no blanks, port, zone, short form)."""
    if len(text) > LONGEST or not text.isascii() or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def canonical(text: str) -> str | None:
    """The canonical text of an address, or None if it is not one."""
    address = parse(text)
    return None if address is None else str(address)


def net64(client: ipaddress.IPv6Address) -> ipaddress.IPv6Network:
    """The /64 that an IPv6 address lies in."""
    return ipaddress.IPv6Network((int(client) >> 64 << 64, 64))


def keys(text: str) -> tuple[str, ...]:
    """The keys of the relay map that speak for a canonical address: itself, and for IPv6 its /64."""
    client = ipaddress.ip_address(text)
    return (text,) if isinstance(client, ipaddress.IPv4Address) else (text, str(net64(client)))


def key(text: str) -> str | None:
    """Read an address or an IPv6 /64 as a key of the relay map, or None if it is neither."""
    head, slash, length = text.partition("/")
    client = parse(head)
    if client is None or not slash:
        return None if client is None else str(client)
    if length != "64" or isinstance(client, ipaddress.IPv4Address) or net64(client).network_address != client:
        return None
    return str(net64(client))


def network(text: str) -> Network:
    """Read an address or a network in CIDR form (`192.0.2.0/24`, `2001:db8::/32`).

    IPv4-mapped networks become IPv4 networks.
    Raises ValueError, with a message for the administrator, on anything else, host bits included.
    """
    if not text.isascii() or "%" in text:
        raise ValueError(f"{text!r} is not an address or a network")
    net = ipaddress.ip_network(text)
    if isinstance(net, ipaddress.IPv6Network) and net.network_address.ipv4_mapped is not None:
        return ipaddress.IPv4Network((net.network_address.ipv4_mapped, net.prefixlen - 96))
    return net


def inside(address: Address, networks: tuple[Network, ...]) -> bool:
    """Whether the address lies in one of the networks; networks of the other family never match."""
    return any(address in net for net in networks if net.version == address.version)
