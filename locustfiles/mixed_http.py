"""Users that load a page, think, and ask: ordinary HTTP requests and the model's answers in one user and one table.

locust -f locustfiles/mixed_http.py --headless -u 20 -r 5 -t 2m -s 30 --host http://localhost:8000 --csv reports/mixed
"""

from locust import between, task

from llmlocust import LLMUser


class Visitor(LLMUser):
    wait_time = between(1, 3)

    @task
    def look_around(self) -> None:
        self.client.get("/health")

    @task(3)
    def ask(self) -> None:
        self.client.get("/v1/models")
        self.chat("What is a good name for a cat?", name="short question", max_tokens=20)
