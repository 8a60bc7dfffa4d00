"""How many users does the server take within a limit? The search finds its levels itself, and stops when it knows.

    locust -f locustfiles/search.py --headless --host http://localhost:8000 --csv reports/search
    llmlocust report reports/search --threshold "ttft.p95 < 1s" --threshold "errors < 1%"

Without `limits`: how many users until requests begin to wait. docs/search.md says how it searches.
"""

from llmlocust import ChatUser, Search


class Chat(ChatUser):
    max_tokens = 128


class Limit(Search):
    limits = "ttft.p95 < 1s, errors < 1%"
    start = 4
    """Users to begin with."""
    max_load = 300
    """Users to go up to."""
    precision = 0.05
    """How near to come to the limit, as a share of it; one user is the least."""
    longest = 15
    """Seconds for which a level is measured at most, unless its requests are long."""
