"""The twins in plain Python: the reference, and the fallback where no extensions are compiled."""
