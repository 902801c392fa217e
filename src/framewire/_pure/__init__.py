"""The twins in plain Python: the reference, and the fallback where nothing is compiled."""
