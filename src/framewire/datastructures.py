"""`Headers`, under the module name that it has in websockets."""

from .http.headers import Headers, HeadersLike, MultipleValuesError

__all__ = ["Headers", "HeadersLike", "MultipleValuesError"]
