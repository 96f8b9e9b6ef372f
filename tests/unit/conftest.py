"""What several unit tests are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_policyserver import SECRET


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The auth policy server's secret in a file, as the administrator keeps it."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path
