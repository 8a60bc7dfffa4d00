"""Does anything drift in an hour? One constant load that the server can certainly handle.

locust -f locustfiles/soak.py --headless --host http://localhost:8000 --csv reports/soak
llmlocust report reports/soak --threshold "ttft.p95 < 1s" --threshold "errors < 0.1%"
"""

from llmlocust import ChatUser, Soak


class Chat(ChatUser):
    max_tokens = 128


class Hour(Soak):
    peak = 40
    seconds = 3600
