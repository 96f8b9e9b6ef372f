"""popauthd.cli.own_addresses: this machine's addresses, as the kernel prints them."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from popauthd.cli.own_addresses import own_addresses

# As Linux 6.1 prints them, on a machine with 198.51.100.5/24, 127.0.0.1 and 2001:db8::5.
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 198.51.100.0/24 2 0 2
        |-- 198.51.100.0
           /24 link UNICAST
        |-- 198.51.100.5
           /32 host LOCAL
        |-- 198.51.100.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 198.51.100.5
        /32 host LOCAL
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000005 02 40 00 80     eth0
"""


def test_the_addresses_of_all_interfaces_are_found(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(FIB_TRIE)
    (tmp_path / "if_inet6").write_text(IF_INET6)
    assert own_addresses(str(tmp_path)) == ["127.0.0.1", "198.51.100.5", "2001:db8::5", "::1"]


def test_of_very_many_the_one_that_is_asked_about_is_told(tmp_path: Path) -> None:
    many = [f"198.51.{100 + number // 250}.{number % 250}" for number in range(500)]
    (tmp_path / "fib_trie").write_text("".join(f"|-- {text}\n   /32 host LOCAL\n" for text in many))
    for wanted in many:
        assert wanted in own_addresses(str(tmp_path), wanted)
    assert "192.0.2.10" not in own_addresses(str(tmp_path), "192.0.2.10")


def test_a_kernel_that_tells_nothing_has_none(tmp_path: Path) -> None:
    assert own_addresses(str(tmp_path)) == []


def test_those_of_this_machine_can_be_bound_and_others_cannot() -> None:
    found = own_addresses()
    assert "127.0.0.1" in found
    for text in found:
        if ipaddress.ip_address(text).is_link_local:
            continue  # names its interface as well
        with socket.socket(socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((text, 0))
    assert "192.0.2.1" not in found
