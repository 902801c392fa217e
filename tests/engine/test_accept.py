"""`accept_key` of both twins (RFC 6455 4.2.2)."""

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(key):
    return b64encode(hashlib.sha1(key + GUID).digest())


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),  # RFC 6455 1.3
        (b"50cLrugr7h3yAbe5Kpc52Q==", b"58ij/Yod1NTjzqcyjkZbZk6V6v0="),
        (b"AQIDBAUGBwgJCgsMDQ4PEC==", accept(b"AQIDBAUGBwgJCgsMDQ4PEC==")),  # 4.1: with unused bits set
    ],
)
def test_accept_key_matches_the_rfc_examples(backend, key, answer):
    assert backend.accept_key(key) == answer


@given(st.binary(min_size=16, max_size=16))
def test_accept_key_matches_hashlib_for_any_nonce(backend, nonce):
    assert backend.accept_key(b64encode(nonce)) == accept(b64encode(nonce))


def test_accept_key_validates_each_byte_at_each_position(backend):
    alphabet = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    for place in range(24):
        for byte in range(256):
            key = bytearray(b"dGhlIHNhbXBsZSBub25jZQ==")
            key[place] = byte
            if byte in alphabet if place < 22 else byte == ord("="):
                assert backend.accept_key(bytes(key)) == accept(bytes(key))
            else:
                with pytest.raises(ValueError, match="a key is the base64 of 16 bytes"):
                    backend.accept_key(bytes(key))


@pytest.mark.parametrize("size", [0, 1, 15, 17, 18, 24, 32])
def test_accept_key_rejects_nonces_of_other_sizes(backend, size):
    with pytest.raises(ValueError, match="a key is the base64 of 16 bytes"):
        backend.accept_key(b64encode(bytes(size)))


@pytest.mark.parametrize(
    "key", [b" dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ==\n", b"dGhlIHNhbXBsZSBub25jZQ= "]
)
def test_accept_key_does_not_trim_whitespace(backend, key):
    with pytest.raises(ValueError, match="a key is the base64 of 16 bytes"):
        backend.accept_key(key)


@pytest.mark.parametrize(
    "key", [None, 5, "dGhlIHNhbXBsZSBub25jZQ==", bytearray(b"dGhlIHNhbXBsZSBub25jZQ=="), memoryview(b"")]
)
def test_accept_key_requires_bytes(backend, key):
    with pytest.raises(TypeError, match="a key is bytes"):
        backend.accept_key(key)
