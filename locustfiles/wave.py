"""A day in ten minutes: from few users at night to many at noon, and down again, in 24 steps.

locust -f locustfiles/wave.py --headless --host http://localhost:8000 --csv reports/wave
llmlocust report reports/wave
"""

from llmlocust import ChatUser, Wave


class Chat(ChatUser):
    max_tokens = 128


class Day(Wave):
    base = 5
    peak = 80
    seconds = 600
