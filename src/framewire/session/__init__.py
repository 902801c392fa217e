"""One open connection without I/O: limits, queue, keepalive and close, the same for every
driver.
"""
