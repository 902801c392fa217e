"""Source distributions are reproducible, and check_wheel.py finds faults in wheels."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from framewire._backend import TWINS

ROOT = Path(__file__).parents[2]
CHECK_WHEEL = ROOT / "packaging/check_wheel.py"
NOT_SOURCES = shutil.ignore_patterns(
    ".*", "build", "dist", "site", "*.egg-info", "__pycache__", "*.so", "*.pyd", "_build.py"
)


def build(hook, tree, target):
    """Run a hook of the build backend in `tree`, without a compiler.

    Return the path of the result.
    """
    code = f"from setuptools import build_meta; print(build_meta.{hook}({str(target)!r}))"
    target.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env={**os.environ, "FRAMEWIRE_EXTENSIONS": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


def copy_tree(target, moment):
    """Copy the sources, with the modification time `moment`."""
    shutil.copytree(ROOT, target, ignore=NOT_SOURCES)
    for path in target.rglob("*"):
        os.utime(path, (moment, moment))
    return target


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sdist")
    return build("build_sdist", copy_tree(directory / "tree", 1_500_000_000), directory / "out")


@pytest.fixture(scope="module")
def pure_wheel(sdist, tmp_path_factory):
    """Build a wheel from the source distribution without a compiler; return its path."""
    directory = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    return build("build_wheel", directory / sdist.name.removesuffix(".tar.gz"), directory / "out")


def members(sdist):
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_sdist_holds_every_source(sdist):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:  # an unpacked source distribution
        folders = ("src", "cext", "tests")
        files = {str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.[pch]*")}
        files = {name for name in files if "__pycache__" not in name and ".egg-info" not in name}
    else:
        files = {name for name in listed.stdout.split() if not name.startswith(".")}
    assert len(files) > 50
    assert files - members(sdist) == set()


def test_sdist_is_reproducible(sdist, tmp_path):
    other = build("build_sdist", copy_tree(tmp_path / "elsewhere", 1_700_000_000), tmp_path / "out")
    assert other.read_bytes() == sdist.read_bytes()


def test_sdist_timestamps_come_from_source_date_epoch(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    made = build("build_sdist", copy_tree(tmp_path / "tree", 1_700_000_000), tmp_path / "out")
    with tarfile.open(made) as archive:
        assert {member.mtime for member in archive} == {1_000_000_000}
        assert {(member.uid, member.gid, member.uname) for member in archive} == {(0, 0, "")}


def test_wheel_without_compiler_is_for_every_platform(pure_wheel):
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    assert check(pure_wheel) == (0, "1 checked, all good\n")


def test_wheel_has_bill_of_materials(pure_wheel):
    with ZipFile(pure_wheel) as archive:
        (name,) = [each for each in archive.namelist() if "/sboms/" in each]
        bill = json.loads(archive.read(name))
        record = archive.read(name.partition("/")[0] + "/RECORD").decode()
    assert name in record
    assert bill["metadata"]["component"]["purl"] == f"pkg:pypi/framewire@{pure_wheel.name.split('-')[1]}"
    assert bill["components"] == []


def test_bill_of_materials_names_code_in_compiled_wheel(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    from sbom import make_bill

    bill = make_bill("1.2.3", True)
    assert [(each["name"], each["licenses"]) for each in bill["components"]] == [
        ("Cython", [{"license": {"id": "Apache-2.0"}}])
    ]
    references = {bill["metadata"]["component"]["bom-ref"], *(each["bom-ref"] for each in bill["components"])}
    assert {each["ref"] for each in bill["dependencies"]} == references


def test_pure_wheel_works_without_other_packages(pure_wheel, tmp_path):
    with ZipFile(pure_wheel) as archive:
        archive.extractall(tmp_path)
    code = "import framewire; print(framewire.__file__, framewire.backend().name)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    environment.pop("FRAMEWIRE_BACKEND", None)
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == [str(tmp_path / "framewire/__init__.py"), "pure"]


def test_version_matches_in_wheel_package_and_changelog(pure_wheel):
    import framewire

    assert pure_wheel.name.split("-")[1] == framewire.__version__
    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert newest.split()[1] == framewire.__version__


def check(wheel):
    done = subprocess.run([sys.executable, CHECK_WHEEL, wheel], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_check_wheel_reports_missing_compiled_twins(pure_wheel, tmp_path):
    compiled = tmp_path / "framewire-0.1.0-cp311-cp311-linux_x86_64.whl"
    shutil.copy(pure_wheel, compiled)
    status, said = check(compiled)
    assert status == 1
    twins = sorted({*TWINS, "dispatch"})
    assert said.splitlines() == [f"{compiled}: the compiled twin {twin} is missing" for twin in twins]
    with ZipFile(compiled, "a") as archive:
        for twin in twins:
            archive.writestr(f"framewire/_fast/{twin}.cpython-311-x86_64-linux-gnu.so", b"")
    assert check(compiled) == (0, "1 checked, all good\n")


@pytest.mark.parametrize("intruder", ["framewire/_fast/header.c", "tests/test_x.py", "framewire/_fast/x.abi3.so"])
def test_check_wheel_reports_unexpected_files(pure_wheel, tmp_path, intruder):
    wheel = tmp_path / pure_wheel.name
    shutil.copy(pure_wheel, wheel)
    with ZipFile(wheel, "a") as archive:
        archive.writestr(intruder, b"")
    status, said = check(wheel)
    assert status == 1
    assert "does not belong here" in said
