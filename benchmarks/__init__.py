"""Benchmarks of framewire, its peers and a lower bound: `python -m benchmarks`."""
