"""Capacity planning: from the SLO limit of a run to users, requests an hour, daily users and replicas. Pure."""
