"""Agents: a call makes a plan, concurrent calls work on its parts, and a last call combines their answers.

locust -f locustfiles/agents.py --headless -u 5 -r 1 -t 2m -s 60 --host http://localhost:8000 --csv reports/agents

Each call is a request with its own name. The row AGENTS in Locust's table has the time of all calls together, for which a
person waits. Locust also includes this row in Aggregated.
"""

import time

from gevent.pool import Group
from locust import between, task

from llmlocust import LLMUser

QUESTIONS = ["Where should we open our next shop?", "Why are orders late this month?", "Which supplier should we drop?"]
PARTS = ["the figures", "the customers", "the risks"]


class Crew(LLMUser):
    prompts = QUESTIONS
    wait_time = between(1, 5)
    max_tokens = 80

    @task
    def answer_together(self) -> None:
        began = time.perf_counter()
        plan = self.chat(name="plan", max_tokens=40)
        if not plan.ok:
            return
        work = Group()
        try:
            texts = work.map(lambda part: self.chat(f"Look at {part}. The plan: {plan.text}", name="part").text, PARTS)
        finally:
            work.kill()  # in case the user is stopped meanwhile
        self.chat("Put together: " + "\n".join(texts), name="sum up")
        self.environment.events.request.fire(
            request_type="AGENTS",
            name="whole answer",
            response_time=(time.perf_counter() - began) * 1e3,
            response_length=0,
            exception=None,
            context={},
        )
