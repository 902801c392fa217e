"""Objects that hold the state of a connection cannot be copied."""

import copy
import pickle

import pytest
from cores import make_instance

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]


@pytest.mark.parametrize(
    "name", ["Deflate", "PartialMessage", "ReceiveWaiter", "SocketWriter", "StreamCore", "Utf8Validator"]
)
def test_instances_cannot_be_copied_or_pickled(backend, name):
    made = make_instance(vars(backend), name)
    for make in (copy.copy, copy.deepcopy, *[lambda it, n=n: pickle.dumps(it, n) for n in range(6)]):
        with pytest.raises(TypeError, match=f"^cannot pickle '{name}' object$"):
            make(made)
    assert not hasattr(made, "__setstate__")
