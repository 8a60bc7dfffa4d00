"""The checks of a run, by what they are about; analysis.validity makes them all."""
