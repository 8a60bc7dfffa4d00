"""An increasing number of users chats, level by level. Values that are set here take precedence over options.

    locust -f locustfiles/chat_ramp.py --headless --host http://localhost:8000 --csv reports/ramp
    llmlocust report reports/ramp

Without --headless, use the web UI at http://localhost:8089. `llmlocust simulate` starts a server to try this with.
"""

from llmlocust import ChatUser, SteppedRamp


class Chat(ChatUser):
    max_tokens = 128


class Ramp(SteppedRamp):
    levels = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300)
    warmup = 5
    """Seconds to wait after all users of a level have started before measuring."""
    hold = 30
    """Seconds for which a level is measured."""
