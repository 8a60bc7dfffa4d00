"""Where does it begin to hurt? Users come in equal steps, until there are as many as you expect on a bad day.

    locust -f locustfiles/linear.py --headless --host http://localhost:8000 --csv reports/linear
    llmlocust report reports/linear

docs/shapes.md has all shapes. With `arrivals = "poisson"` in it, each of them is of requests a second.
"""

from llmlocust import ChatUser, LinearRamp


class Chat(ChatUser):
    max_tokens = 128


class Ramp(LinearRamp):
    base = 2
    peak = 100
    seconds = 600
    """For which loads are measured, all steps together."""
