"""For all tests."""

from hypothesis import settings

# machines that run them are shared: how long an example took says nothing
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
