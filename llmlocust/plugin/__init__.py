"""The Locust side: users, transport, shape, collector, files, options."""
