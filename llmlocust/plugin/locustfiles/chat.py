"""The locustfile of `llmlocust calibrate`: users who chat, and no ramp."""

from llmlocust import ChatUser


class Chat(ChatUser):
    pass
