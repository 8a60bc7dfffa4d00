"""For all tests."""

from hypothesis import HealthCheck, settings

# machines that run them are shared: how long an example took says nothing
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
