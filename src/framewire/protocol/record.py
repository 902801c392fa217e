"""`Record`: the base class of immutable values.

It replaces frozen dataclasses in modules that every program imports: `dataclasses` imports
`inspect`, and generates the methods of each class in each process, which together would take a
third of the time of `import framewire`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """Return a class as it is; type checkers treat it as a base of frozen dataclasses."""
        return lambda cls: cls


__all__ = ["Record", "assign", "check_switch"]

#: Set an attribute of a record; only for its `__init__`.
assign: Final = object.__setattr__


def check_switch(name: str, value: bool) -> None:
    """Check that an argument is a `bool`. Raises TypeError if it is not."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {type(value).__name__}")


@dataclass_transform(frozen_default=True)
class Record:
    """An immutable value, which equals others of its class with the same attributes.

    A subclass lists its attributes in `__slots__ = __match_args__ = (...)`, in the order of the
    parameters of `__init__`, which sets each of them once with `assign`.
    """

    __slots__: tuple[str, ...] = ()
    #: Attributes that `repr` omits.
    _secrets: ClassVar[tuple[str, ...]] = ()

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__slots__])

    if not TYPE_CHECKING:  # type checkers know that records are frozen

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AttributeError(f"cannot assign to {name!r} of a {type(self).__name__}: it is immutable")

        def __delattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"cannot delete {name!r} of a {type(self).__name__}: it is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or other.__class__ is not self.__class__:
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        values = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__slots__ if name not in self._secrets])
        return f"{type(self).__name__}({values})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._values()
