"""The locustfiles that `llmlocust` commands run."""
