"""The shortest example: users chat in a stepped ramp. Options or the web form set everything else.

locust -f locustfiles/chat.py --host http://localhost:8000 --csv reports/chat --llm-levels 1,5,10,20 --llm-hold 60
"""

from llmlocust import ChatUser, SteppedRamp


class Chat(ChatUser):
    pass


class Ramp(SteppedRamp):
    pass
