"""What a master and its workers must have in common."""

from importlib.metadata import version

MESSAGES = 9
"""Of what travels between them."""

VERSION = f"{version('llmlocust')} (messages {MESSAGES})"
"""Figures of another version may mean something else: they are not mixed."""
