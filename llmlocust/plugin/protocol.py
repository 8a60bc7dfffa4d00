"""The version that a master and its workers must have in common."""

from importlib.metadata import version

MESSAGES = 10
"""The version of the messages between them."""

VERSION = f"{version('llmlocust')} (messages {MESSAGES})"
"""Workers of another version are refused: their figures may have another meaning."""
