"""Completion of texts with /v1/completions, for base models. Without a ramp, Locust's --users sets the load.

locust -f locustfiles/completions.py --headless -u 20 -r 5 -t 2m -s 30 --host http://localhost:8000 --csv reports/texts
"""

from llmlocust import CompletionUser

BEGINNINGS = ["Once upon a time", "The three laws of robotics are", "def fibonacci(n):"]


class Completion(CompletionUser):
    prompts = BEGINNINGS
    max_tokens = 64
    temperature = 0.0
