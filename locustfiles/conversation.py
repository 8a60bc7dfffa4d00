"""Conversations: each request contains all earlier messages, so prompts grow, and a prefix cache may help.

locust -f locustfiles/conversation.py --headless -u 10 -r 2 -t 2m -s 30 --host http://localhost:8000 --csv reports/talk

Your own questions, files of conversations and the number of turns: docs/prompts.md.
"""

from locust import between, task

from llmlocust import LLMUser

QUESTIONS = ["Tell me a story about a lighthouse.", "What happened the year before?", "Tell it as a poem."]


class Talker(LLMUser):
    prompts = QUESTIONS
    turns = "whole:2-4"
    wait_time = between(0.5, 2)
    """Think time between two turns, and between two conversations."""
    max_tokens = 100

    @task
    def have_a_talk(self) -> None:
        self.talk()
