"""What is sent and when: prompts, the curves of load, the search for a limit. Pure."""
