"""Does a short spike do any harm, and for how long? Everybody comes at once, and goes again.

locust -f locustfiles/spike.py --headless --host http://localhost:8000 --csv reports/spike
llmlocust report reports/spike --threshold "errors < 1%"
"""

from llmlocust import ChatUser, Spike


class Chat(ChatUser):
    max_tokens = 128


class Everybody(Spike):
    base = 5
    peak = 200
    seconds = 200
    """60 at rest, 20 of the spike, 120 to see what it left behind."""
