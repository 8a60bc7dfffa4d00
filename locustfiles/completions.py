"""Texts that the model goes on with: /v1/completions, for base models. No ramp: Locust's own --users tell the load.

locust -f locustfiles/completions.py --headless -u 20 -r 5 -t 2m -s 30 --host http://localhost:8000 --csv reports/texts
"""

from llmlocust import CompletionUser

BEGINNINGS = ["Once upon a time", "The three laws of robotics are", "def fibonacci(n):"]


class Completion(CompletionUser):
    prompts = BEGINNINGS
    max_tokens = 64
    temperature = 0.0
