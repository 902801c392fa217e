"""The environment of a measurement: interpreter, processor, instruction set, versions."""

from __future__ import annotations

import platform
import sysconfig
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .contenders import backends
from .tables import FAST

PEERS = ("websockets", "wsproto", "aiohttp", "picows", "wsaccel", "tornado")


def describe() -> dict[str, str]:
    """Return the environment, by name, for the head of the output and the JSON file."""
    packages = backends()
    active = packages[FAST].backend().instruction_set if FAST in packages else None
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimization = ", profile-guided" if "--enable-optimizations" in flags else ""
    return {
        "date": date.today().isoformat(),
        "Python": f"{platform.python_version()} {platform.python_compiler()}{optimization}",
        "processor": processor(),
        "system": platform.platform(terse=True),
        "instruction set": active or "none: the compiled backend is missing",
        "framewire": next(iter(packages.values())).__version__,
        "peers": ", ".join(f"{name} {installed(name)}" for name in PEERS),
    }


def processor() -> str:
    """Return the name of the processor from /proc/cpuinfo, or else from `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
