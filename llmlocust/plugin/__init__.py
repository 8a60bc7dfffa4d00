"""The Locust plugin: users, HTTP, load shapes, the load generator's own state, runs, options, web UI."""
