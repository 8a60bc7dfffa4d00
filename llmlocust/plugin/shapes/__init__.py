"""Load shapes, and the drivers of a search and a replay."""
