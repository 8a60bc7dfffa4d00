"""`python -m llmlocust.cli`: the `llmlocust` command."""

from llmlocust.cli import main

main(prog_name="llmlocust")
