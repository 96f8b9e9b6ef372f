"""The one place that reads and normalises addresses and networks.

Canonical text is what Python's ipaddress prints: IPv4 in four decimal parts, IPv6 compressed and in
lower case. An IPv4-mapped IPv6 address (::ffff:192.0.2.1) becomes the IPv4 address, or Exim, which
sees the client as IPv4, would never find it. A zone id (fe80::1%eth0) is refused: it names an
interface of one machine, not a client.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST = 45  # bytes: 0000:0000:0000:0000:0000:ffff:255.255.255.255
_MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"


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
    """The canonical text of an address, or None if it is not one.

    The same answer as `parse`, without the cost of ipaddress: it is on the path of every lookup. What the C library
    reads as IPv4 is canonical already: it takes no leading zeros, and four decimal parts only.
    """
    if len(text) > LONGEST:
        return None
    try:
        if ":" not in text:
            inet_pton(AF_INET, text)
            return text
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):  # not an address; a NUL, or what is not even Unicode
        return None
    if packed.startswith(_MAPPED):
        return inet_ntop(AF_INET, packed[12:])
    found = inet_ntop(AF_INET6, packed)
    # The C library writes the IPv4-compatible ::c000:201 as ::192.0.2.1, and ipaddress does not.
    return str(ipaddress.IPv6Address(packed)) if "." in found else found


def all_are(texts: Sequence[bytes]) -> bool:
    """Whether `parse` reads every one of these texts."""
    joined = b",".join(texts)  # decoded and split, it is read in half the time of one by one
    try:
        written = joined.decode("ascii").split(",") if texts else []
        families = [AF_INET6 if ":" in text else AF_INET for text in written] if b":" in joined else repeat(AF_INET)
        deque(map(inet_pton, families, written), 0)
    except (OSError, ValueError):  # see `canonical`
        return False
    return len(written) == len(texts)  # or a text has a comma in it


def packed(text: str) -> bytes:
    """The bytes of a canonical address."""
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


def net64(client: ipaddress.IPv6Address) -> ipaddress.IPv6Network:
    """The /64 that an IPv6 address lies in."""
    return ipaddress.IPv6Network((int(client) >> 64 << 64, 64))


def keys(text: str) -> tuple[str, ...]:
    """The keys of the relay map that speak for a canonical address: itself, and for IPv6 its /64."""
    return (text, f"{inet_ntop(AF_INET6, inet_pton(AF_INET6, text)[:8] + bytes(8))}/64") if ":" in text else (text,)


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
