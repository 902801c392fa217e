"""The JSON file of all measured figures; each benchmark puts its part into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["put"]


def put(file: Path, **parts: Any) -> None:
    """Put parts into a JSON file, which keeps its other parts; create the file if it is missing."""
    results = json.loads(file.read_text()) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**results, **parts}, indent=1) + "\n")
