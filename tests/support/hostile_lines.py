"""Lines of the corpora with something done to them, and the ways in which they are read."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from popauthd.formats.options import Options
from tests.support.dose import dose
from tests.support.dovecot_lines import SAMPLES, raw

EXAMPLES = dose("EXAMPLES", 100)  # more in a long run
READINGS = [
    Options("dovecot-file", timezone="UTC"),
    Options("dovecot-file", timezone="UTC", timestamp="%Y-%m-%d %H:%M:%S"),
    Options("syslog", timezone="UTC"),
    Options("syslog", timezone="UTC", hostnames=("mx1",), programs=("dovecot", "mail-in")),
    Options("journal"),
    Options("auto", timezone="UTC"),
]


def corpus_lines() -> list[bytes]:
    """Every line of the corpora, as bytes."""
    adversarial = (SAMPLES.parent / "adversarial.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(text) for text in adversarial]
    lines = [raw(row) for row in rows if row["format"] != "sequence"]
    texts = [text.partition(" | ")[2] for text in Path(SAMPLES).read_text(encoding="utf-8").split("\n")]
    return lines + [text.encode() for text in texts if text]


LINES = corpus_lines()
PIECES = [
    b"user=<", b">", b"<", b", ", b"rip=6.6.6.6", b", rip=", b"lip=", b"\r", b"\x00", b"\x0c", b"\xe2\x80\xa8", b"\xff",
    b"Login: ", b"Logged in: ", b"login: ", b"imap-login: ", b"Info: ", b"dovecot: ", b"mx1 ", b"[1]", b"=", b" ",
    b"6.6.6.6", b"::1", b"Nov 23 21:00:00 ", b"Nov 31 ", b"25:00:00", b"2026-11-23T21:00:00Z ", b"{", b"}", b'"',
    b"session=<x>", b"method=ANONYMOUS", b"TLS", b"secured", b"<22>", b"message repeated 2 times: [", b"Disconnected: ",
    b".", b":", b"0", b"1", b"-", b"a" * 300, b"proxy(", b"imap(a)<1><s>: ", b"Disconnected: ", b"Logged out in=1 ",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A corpus line with a few cuts, insertions, exchanges and splices."""
    line = draw(st.sampled_from(LINES))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        end = min(len(line), at + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.sampled_from(LINES)))
        if draw(st.booleans()):
            cut = draw(st.integers(0, len(piece)))
            piece = piece[cut:]
        line = line[:at] + piece + line[end:]
    return line.replace(b"\n", b"")


lines = st.one_of(mutated(), mutated(), st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"")))
thorough = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
