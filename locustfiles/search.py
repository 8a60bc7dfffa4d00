"""How many users can the server handle within thresholds? The search chooses its levels, and stops at the answer.

    locust -f locustfiles/search.py --headless --host http://localhost:8000 --csv reports/search
    llmlocust report reports/search --threshold "ttft.p95 < 1s" --threshold "errors < 1%"

Without `limits`, it searches for the load at which requests begin to queue. docs/search.md explains the search.
"""

from llmlocust import ChatUser, Search


class Chat(ChatUser):
    max_tokens = 128


class Limit(Search):
    limits = "ttft.p95 < 1s, errors < 1%"
    start = 4
    """Users of the first level."""
    max_load = 300
    """Maximum number of users."""
    precision = 0.05
    """Precision of the answer, as a share of it; at least one user."""
    longest = 15
    """Maximum seconds for which a level is measured, unless its requests are long."""
