"""Bounds on the memory and the time that a peer can cost."""

import gc
import time
import tracemalloc

KIB, MIB = 1 << 10, 1 << 20
#: Allowance for small objects and the memory of a Python call, in bytes.
SMALL = 8 * KIB


#: Where a stream allocates, or the test that uses it. Other threads, such as a server that an earlier
#: test has left, allocate elsewhere.
_ENGINE = (
    "*/framewire/protocol/*", "*/framewire/_pure/*", "*/framewire/_fast/*", "*/tests/engine/*", "*/tests/hostile/*",
    "*/tests/support/*",
)  # fmt: skip


class Traced:
    """Measure the bytes allocated since `with`: now, and at the peak.

    Args:
        drivers: Whether `now` counts allocations of servers, clients and event loops too. A test of
            a stream, which uses none, passes False.
    """

    def __init__(self, drivers=True):
        self._files = () if drivers else _ENGINE

    def __enter__(self):
        gc.collect()
        tracemalloc.start()
        self.before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_):
        tracemalloc.stop()

    def now(self):
        if not self._files:
            return tracemalloc.get_traced_memory()[0] - self.before
        snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, file) for file in self._files])
        return sum(trace.size for trace in snapshot.traces)

    def peak(self):
        return tracemalloc.get_traced_memory()[1] - self.before


def assert_linear(run, size):
    """Check that 8 times the input takes about 8 times the processor time, not 64.

    The best of interleaved runs count. The limit, 24, leaves room for the larger input to miss the
    caches of the processor, and its memory to come from the system.
    """
    little, much = [], []
    gc.collect()
    gc.disable()
    try:
        for _ in range(15):
            for amount, times in ((size // 4, little), (2 * size, much)):
                start = time.process_time()
                run(amount)
                times.append(time.process_time() - start)
            if len(little) > 1 and min(much) < 24 * min(little):
                return
    finally:
        gc.enable()
    raise AssertionError(f"{2 * size} took {min(much) / min(little):.2f} times as long as {size // 4}")
