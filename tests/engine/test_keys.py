"""Masking keys: fresh, unpredictable, and not shared with a child process."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from framewire import CLIENT, Stream
from framewire.protocol.masking_keys import KeyPool, pool

pytestmark = pytest.mark.both_backends


@pytest.mark.engine
def test_mask_keys_are_4_bytes_that_do_not_repeat(backend):
    keys = [backend.take_key(pool) for _ in range(2000)]
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) > 1990
    for place in range(4):
        assert len({key[place] for key in keys}) > 240


@pytest.mark.engine
def test_mask_keys_are_read_256_at_a_time(backend, monkeypatch):
    reads, urandom, keys = [], os.urandom, KeyPool()
    monkeypatch.setattr(os, "urandom", lambda size: reads.append(size) or urandom(size))
    assert len({backend.take_key(keys) for _ in range(300)}) > 290
    assert reads == [1024, 1024]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_does_not_reuse_parent_mask_keys(backend):
    backend.take_key(pool)  # fills the pool
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(backend.take_key(pool) for _ in range(100)))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        theirs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    ours = {backend.take_key(pool) for _ in range(1000)}
    assert len(theirs) == 400
    assert not ours & {theirs[i : i + 4] for i in range(0, 400, 4)}


@pytest.mark.engine
def test_index_error_of_a_mask_source_is_passed_on():
    def fail(size):
        raise IndexError("no more keys")

    with pytest.raises(IndexError, match="no more keys"):
        Stream(CLIENT, mask_source=fail).send("a")


@pytest.mark.engine
def test_server_takes_an_empty_mask_key(backend):
    assert backend.take_key(None) == b""


def test_threads_do_not_share_mask_keys(backend):
    def take(_):
        return [backend.take_key(pool) for _ in range(2000)]

    with ThreadPoolExecutor(4) as threads:
        keys = [key for batch in threads.map(take, range(4)) for key in batch]
    assert len(set(keys)) > 7990
