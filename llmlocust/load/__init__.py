"""The load: prompts, arrivals, load curves and plans, traces, and the search for a limit. Pure."""
