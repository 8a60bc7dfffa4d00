"""Conversations: each question carries everything said before it, so prompts grow, and a prefix cache may help.

locust -f locustfiles/conversation.py --headless -u 10 -r 2 -t 2m -s 30 --host http://localhost:8000 --csv reports/talk
"""

from locust import between, task

from llmlocust import LLMUser

QUESTIONS = ("Tell me a story about a lighthouse.", "What happened the year before?", "Tell it as a poem.")


class Talker(LLMUser):
    wait_time = between(0.5, 2)
    max_tokens = 100

    @task
    def talk(self) -> None:
        said = []
        for turn, question in enumerate(QUESTIONS, 1):
            said.append({"role": "user", "content": question})
            record = self.chat(said, name=f"turn {turn}")
            if not record.ok:
                return
            said.append({"role": "assistant", "content": record.text})
            self.wait()
