"""What holds for every test: hypothesis measures no time, as a machine may be busy with something else."""

from hypothesis import HealthCheck, settings

settings.register_profile("popauthd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("popauthd")
