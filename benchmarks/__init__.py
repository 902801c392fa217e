"""How fast framewire is, next to its peers and to the floor under all of them: `python -m benchmarks`."""
