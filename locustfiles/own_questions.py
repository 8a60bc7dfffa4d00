"""Your own questions, and a check of each answer: an empty answer counts as a separate failure.

locust -f locustfiles/own_questions.py --headless -u 5 -r 5 -t 1m -s 30 --host http://localhost:8000 --csv reports/own

A file of questions, one per line or JSONL, needs no code: use any locustfile with --llm-prompts my-questions.txt.
"""

from locust import task

from llmlocust import LLMUser

QUESTIONS = ["How do I return a parcel?", "Where is my order?", "Do you ship to Norway?"]


class Asker(LLMUser):
    prompts = QUESTIONS
    unique = False  # questions repeat, as those of real customers do; a prefix cache is then part of the measurement
    max_tokens = 80

    @task
    def ask(self) -> None:
        record = self.chat(name="support")
        if record.ok and not record.text.strip():
            context = {"tokens": record.output_tokens, "finish": record.finish}
            self.environment.events.request.fire(
                request_type="CHECK",
                name="empty answer",
                response_time=None,
                response_length=0,
                exception=ValueError("an answer without text"),
                context=context,
            )
