"""The reference semantics, transcribed independently in plain scikit-image and SciPy calls, to compare with."""
