"""A judged run: what its files say, judged. It draws no charts and writes no pages."""
