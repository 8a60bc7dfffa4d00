"""At which load does the server become slow? Users are added in equal steps, up to the highest load that you expect.

    locust -f locustfiles/linear.py --headless --host http://localhost:8000 --csv reports/linear
    llmlocust report reports/linear

docs/shapes.md describes all shapes. With `arrivals = "poisson"`, loads are requests per second.
"""

from llmlocust import ChatUser, LinearRamp


class Chat(ChatUser):
    max_tokens = 128


class Ramp(LinearRamp):
    base = 2
    peak = 100
    seconds = 600
    """Seconds for which loads are measured, all steps together."""
