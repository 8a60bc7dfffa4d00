"""The locustfile of `llmlocust run`: a stepped ramp, of users who chat or of a rate of requests."""

from llmlocust import ChatUser, CompletionUser, SteppedRamp


class Chat(ChatUser):
    pass


class Completion(CompletionUser):
    pass


class Ramp(SteppedRamp):
    pass
