"""Runs of Locust against the simulator, compared with the simulator's own record of each request."""
