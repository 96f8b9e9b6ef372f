"""This machine's own addresses, as its network interfaces have them.

The watcher cannot ask for them itself: its sandbox shows it nothing but `lo`. popauthctl, outside it, can.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

AT_MOST = 256  # addresses that are told


def own_addresses(proc_net: str = "/proc/net", first: str = "") -> list[str]:
    """The addresses of all interfaces, loopback ones included, canonical, sorted; [] where the kernel tells none.

    first: the address that is asked about; where there are more than AT_MOST, it is told if it is one of them.
    """
    found = _of_ipv4(_text(f"{proc_net}/fib_trie")) | _of_ipv6(_text(f"{proc_net}/if_inet6"))
    return sorted(found, key=lambda text: (text != first, text))[:AT_MOST]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _of_ipv4(trie: str) -> set[str]:
    """The addresses of a routing table as the kernel prints it: each on a line, what it is on the next."""
    found, address = set(), ""
    for line in trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.add(address)
    return found


def _of_ipv6(table: str) -> set[str]:
    """Lines of 32 hexadecimal digits and what belongs to them."""
    return {str(IPv6Address(int(line.split()[0], 16))) for line in table.splitlines() if line.strip()}
