"""Independent transcriptions of the reference semantics with plain scikit-image and SciPy calls, for comparison only."""
