"""Does a short spike do harm, and for how long? All users start at once, and stop soon after.

locust -f locustfiles/spike.py --headless --host http://localhost:8000 --csv reports/spike
llmlocust report reports/spike --threshold "errors < 1%"
"""

from llmlocust import ChatUser, Spike


class Chat(ChatUser):
    max_tokens = 128


class AllAtOnce(Spike):
    base = 5
    peak = 200
    seconds = 200
    """Seconds of the plan: 60 baseline, 20 spike, 120 recovery."""
