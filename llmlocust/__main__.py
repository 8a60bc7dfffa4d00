"""`python -m llmlocust`: the command, where its script is not on the path."""

from llmlocust.cli import main

main()
