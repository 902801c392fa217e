"""framewire inside existing WebSocket servers and clients.

`uvicorn` is a WebSocket protocol class for uvicorn's `--ws` option. `accelerate` replaces slow
parts of other libraries at run time; for each library, the module of its name holds the
replacements.
"""
