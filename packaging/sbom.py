"""The software bill of materials of a wheel (PEP 770): `.dist-info/sboms/framewire.cdx.json`, in CycloneDX 1.6."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from setuptools.command.bdist_wheel import bdist_wheel

NAME = "framewire.cdx.json"


def make_bill(release: str, compiled: bool) -> dict[str, Any]:
    """Return the bill of a wheel: this package, and the code of Cython that is part of compiled extensions.

    What `pip` installs besides, it finds in the metadata. No time and no serial number, so that the
    same source gives the same wheel.
    """
    own = _component("framewire", release, "MIT")
    others = [_component("Cython", version("Cython"), "Apache-2.0")] if compiled else []
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": others,
        "dependencies": [
            {"ref": own["bom-ref"], "dependsOn": [each["bom-ref"] for each in others]},
            *({"ref": each["bom-ref"], "dependsOn": []} for each in others),
        ],
    }


def _component(name: str, release: str, license_id: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.lower()}@{release}"
    licenses = [{"license": {"id": license_id}}]
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": release, "licenses": licenses, "purl": purl,
    }  # fmt: skip


class WheelWithBill(bdist_wheel):
    """The stock command that also writes the bill."""

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        super().egg2dist(egginfo_path, distinfo_path)
        folder = Path(distinfo_path, "sboms")
        folder.mkdir()
        bill = make_bill(self.distribution.get_version(), bool(self.distribution.ext_modules))
        (folder / NAME).write_text(json.dumps(bill, indent=2) + "\n")
