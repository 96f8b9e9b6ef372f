"""What holds for every test: hypothesis measures no time, as a machine may be busy with something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.push_messages import SECRET

settings.register_profile("popauthd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("popauthd")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The auth policy server's secret in a file, as the administrator keeps it."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path
