"""The compiled twins land here when a compiler was at hand; `_backend` chooses."""
