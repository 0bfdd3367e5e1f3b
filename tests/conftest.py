"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The first run on a fresh clone builds tables of characters, and a machine may be busy: neither
# says anything about the code.
settings.register_profile("ketchup", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ketchup")
