"""The checks of a run, by their subject; `validity` makes all of them."""
