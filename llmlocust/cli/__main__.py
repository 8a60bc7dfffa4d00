"""`python -m llmlocust.cli`: the command."""

from llmlocust.cli import main

main(prog_name="llmlocust")
