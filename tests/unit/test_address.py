"""popauthd.address: what is an address, and what is its one canonical text."""

from __future__ import annotations

import ipaddress
import os
import random

import pytest

from popauthd import address

CANONICAL = [
    ("IPv4", "192.0.2.10", "192.0.2.10"),
    ("IPv6 upper case and long", "2001:DB8:1:0:0::10", "2001:db8:1::10"),
    ("IPv6 written out", "2001:0db8:0000:0000:0000:0000:0000:0007", "2001:db8::7"),
    ("IPv4-mapped", "::ffff:192.0.2.10", "192.0.2.10"),
    ("IPv4-mapped in hex", "::FFFF:c000:020a", "192.0.2.10"),
    ("longest text", "0000:0000:0000:0000:0000:ffff:192.168.100.200", "192.168.100.200"),
]
REFUSED = [
    ("empty", ""),
    ("leading zero", "192.0.2.010"),
    ("out of range", "192.0.2.256"),
    ("short form", "1"),
    ("port", "192.0.2.10:993"),
    ("two addresses", "192.0.2.10 192.0.2.11"),
    ("blank behind", "192.0.2.10 "),
    ("zone id", "fe80::1%eth0"),
    ("Arabic-indic digit", "192.0.2.1١"),
    ("NUL", "192.0.2.10\0"),
    ("a megabyte", "1" * 1_000_000),
    ("longer than the longest text", "0000:0000:0000:0000:0000:ffff:192.168.100.2000"),
    ("zone id of one byte", "::1%1"),
    ("name", "localhost"),
    ("network", "192.0.2.0/24"),
]


@pytest.mark.parametrize(("text", "canonical"), [row[1:] for row in CANONICAL], ids=[row[0] for row in CANONICAL])
def test_an_address_has_one_canonical_text(text: str, canonical: str) -> None:
    assert address.canonical(text) == canonical


@pytest.mark.parametrize("text", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_not_exactly_one_address_is_refused(text: str) -> None:
    assert address.canonical(text) is None


def test_a_mapped_network_becomes_an_ipv4_network() -> None:
    assert str(address.network("::ffff:192.0.2.0/120")) == "192.0.2.0/24"


@pytest.mark.parametrize(
    "text", ["192.0.2.1/24", "10.0.0.0/33", "::ffff:0:0/80", "fe80::1%eth0", "x", "", "10.0.0.0/٨"]
)
def test_a_bad_network_is_refused_with_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        address.network(text)


def test_networks_of_the_other_family_never_match() -> None:
    everything = (address.network("0.0.0.0/0"), address.network("::/0"))
    client = address.parse("2001:db8::1")
    assert client is not None
    assert address.inside(client, everything)
    assert not address.inside(client, everything[:1])


KEYS = [
    ("IPv4", "192.0.2.10", "192.0.2.10"),
    ("mapped", "::ffff:192.0.2.10", "192.0.2.10"),
    ("IPv6", "2001:DB8::7", "2001:db8::7"),
    ("a /64", "2001:DB8:1:2::/64", "2001:db8:1:2::/64"),
    ("a /64, written out", "2001:0db8:0001:0002:0000:0000:0000:0000/64", "2001:db8:1:2::/64"),
    ("a /64 with host bits", "2001:db8:1:2::1/64", None),
    ("another length", "2001:db8:1:2::/63", None),
    ("no length", "2001:db8:1:2::/", None),
    ("a length with a zero before", "2001:db8:1:2::/064", None),
    ("a length of IPv4", "192.0.2.0/64", None),
    ("a mapped /64", "::ffff:0:0/64", None),
    ("two lengths", "2001:db8:1:2::/64/64", None),
    ("nothing before the length", "/64", None),
    ("no address", "x", None),
    ("nothing", "", None),
]


@pytest.mark.parametrize(("text", "key"), [row[1:] for row in KEYS], ids=[row[0] for row in KEYS])
def test_a_key_of_the_map_is_an_address_or_a_64(text: str, key: str | None) -> None:
    assert address.key(text) == key


def test_an_address_is_asked_for_by_itself_and_ipv6_by_its_64_too() -> None:
    assert address.keys("192.0.2.10") == ("192.0.2.10",)
    assert address.keys("2001:db8:1:2:ffff::7") == ("2001:db8:1:2:ffff::7", "2001:db8:1:2::/64")


NETWORKS = [
    ("IPv4", "192.0.2.0/24", "192.0.2.0/24"),
    ("one address", "192.0.2.1", "192.0.2.1/32"),
    ("IPv6", "2001:db8::/32", "2001:db8::/32"),
    ("all of IPv4, mapped", "::ffff:0.0.0.0/96", "0.0.0.0/0"),
    ("one mapped address", "::ffff:192.0.2.1", "192.0.2.1/32"),
]


@pytest.mark.parametrize(("text", "canonical"), [row[1:] for row in NETWORKS], ids=[row[0] for row in NETWORKS])
def test_a_network_has_one_canonical_text(text: str, canonical: str) -> None:
    assert str(address.network(text)) == canonical


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("::ffff:0:0/95", "has host bits"),
        ("::fffe:0:0/95", None),
        ("::ffff:0.0.0.0/96", None),
        ("::1%1", "is not an address or a network"),
        ("1\u0663", "is not an address or a network"),
    ],
)
def test_a_network_that_is_refused_is_told_why(text: str, said: str | None) -> None:
    if said is None:
        assert address.network(text)
    else:
        with pytest.raises(ValueError, match=said):
            address.network(text)


FUZZED = int(os.environ.get("POPAUTHD_ADDRESSES", "20000"))
ODD = [
    "",
    " ",
    "%1",
    "%eth0",
    "\0",
    "\u0663",
    "\udcff",
    "/64",
    "\n",
    "+",
    "-",
    "0",
    "00",
    "0x",
    ".",
    ":",
    "::",
    "]",
    "g",
]


def fuzzed(dice: random.Random) -> str:
    """The text of an address in one of many ways of writing, or of something near to one."""
    groups = [dice.choice((0, 0, 0, 1, 0xFFFF, dice.randrange(1 << 16))) for _ in range(8)]
    if dice.random() < 0.3:
        groups[:6] = [0] * 5 + [dice.choice((0, 0xFFFF))]
    decimal = ".".join(str(dice.choice((0, 1, 10, 255, 256, dice.randrange(300)))) for _ in range(4))
    written = [f"{group:{dice.choice(('x', 'X', '04x', '05x'))}}" for group in groups]
    start, end = sorted((dice.randrange(9), dice.randrange(9)))
    shape = dice.randrange(6)
    if shape == 0:
        text = decimal
    elif shape == 1:
        text = ":".join(written)
    elif shape == 2:
        text = f"{':'.join(written[:start])}::{':'.join(written[end:])}"
    elif shape == 3:
        text = f"{':'.join(written[: min(start, 6)])}::{dice.choice(('', 'ffff:', 'FFFF:', '0:ffff:'))}{decimal}"
    elif shape == 4:
        text = str(ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups)))
    else:
        text = ":".join([*written[:6], decimal])
    for _ in range(dice.choice((0, 0, 1, 2))):
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice(ODD) + text[at + dice.randrange(3) :]
    return text


def test_the_canonical_text_is_that_of_ipaddress_for_whatever_is_asked() -> None:
    """The campaign: POPAUTHD_ADDRESSES=300000."""
    dice, addresses = random.Random(7), 0
    for _ in range(FUZZED):
        text = fuzzed(dice)
        parsed = address.parse(text)
        assert address.canonical(text) == (None if parsed is None else str(parsed)), text
        raw = text.encode("utf-8", "surrogatepass")
        assert address.all_are([b"192.0.2.1", raw, b"2001:db8::1"]) == (parsed is not None), text
        if parsed is not None:
            addresses += 1
            net = [str(address.net64(parsed))] if isinstance(parsed, ipaddress.IPv6Address) else []
            assert address.keys(str(parsed)) == (str(parsed), *net), text
    assert FUZZED * 0.1 < addresses < FUZZED * 0.9, "the fuzz tests nothing"


def test_texts_that_are_looked_at_together_are_each_an_address() -> None:
    assert address.all_are([])
    assert address.all_are([b"192.0.2.1", b"192.0.2.2"])
    for wrong in (b"", b"192.0.2.1,192.0.2.2", b"2001:db8::1,192.0.2.2", b"192.0.2.1,", b"192.0.2.1\n", b"\xb2.0.2.1"):
        assert not address.all_are([wrong]), wrong
        assert not address.all_are([b"192.0.2.1", wrong]), wrong
