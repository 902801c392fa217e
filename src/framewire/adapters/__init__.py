"""framewire inside the servers and clients that people already run.

`uvicorn` has a WebSocket class to name on uvicorn's command line; `accelerate` speeds up other libraries in place, each
by the file of its name.
"""
