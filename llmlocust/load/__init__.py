"""What is sent and when: prompts and the curves of load. Pure."""
