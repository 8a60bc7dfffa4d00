"""More and more users chat, level after level, until something gives. What is set here wins over options.

    locust -f locustfiles/chat_ramp.py --headless --host http://localhost:8000 --csv reports/ramp
    llmlocust report reports/ramp

Without --headless: the web UI at http://localhost:8089. `llmlocust simulate` starts a server to try this on.
"""

from llmlocust import ChatUser, SteppedRamp


class Chat(ChatUser):
    max_tokens = 128


class Ramp(SteppedRamp):
    levels = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300)
    warmup = 5
    """Seconds from a level's users being there to measuring it."""
    hold = 30
    """Seconds for which a level is measured."""
