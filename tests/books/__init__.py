"""Books as older versions of popauthd left them on disk, for tests of what an upgrade keeps.

`schema-N.mdb.xz` was written by the code of its time, run by `write_schema_N.py`; `schema-N.json` is what it holds.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def unpack(schema: int, path: Path) -> dict[str, Any]:
    """Put books of an older schema at `path` (0600); what they hold, as write_schema_N.py tells."""
    path.touch(0o600)
    path.write_bytes(lzma.decompress((HERE / f"schema-{schema}.mdb.xz").read_bytes()))
    found: dict[str, Any] = json.loads((HERE / f"schema-{schema}.json").read_text("ascii"))
    return found
