"""Run the targets on the committed seeds without a fuzzer, for valgrind and without atheris."""

import importlib
import sys
from pathlib import Path

sys.modules["atheris"] = None  # if installed, it would trace every line
SEEDS = Path(__file__).parent / "seeds"


def main():
    for name in ("stream", "deflate", "utf8", "handshake"):
        target = importlib.import_module(name)
        seeds = sorted((SEEDS / name).iterdir())
        for seed in seeds:
            target.test(seed.read_bytes())
        print(f"{name}: {len(seeds)} seeds")


if __name__ == "__main__":
    main()
