"""Builds and installations: with a compiler, without one, and with FRAMEWIRE_EXTENSIONS=0."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from backends import LOADED, needed

from framewire._backend import TWINS

ROOT = Path(__file__).parents[2]
EXTENSIONS = {*TWINS, "dispatch"}
SOURCES = ["cext", "src", "tests", "benchmarks", "docs", "examples", "packaging"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Copy the sources without build output."""
    copy = tmp_path_factory.mktemp("tree") / "framewire"
    built = shutil.ignore_patterns("*.so", "*.pyd", "_build.py", "*.egg-info", "__pycache__")
    for name in SOURCES:
        if ROOT.joinpath(name).exists():
            shutil.copytree(ROOT / name, copy / name, ignore=built)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, copy / path.name)
    return copy


def run(*command, cwd, **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FRAMEWIRE_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def pip(action, tree, *options, **variables):
    """Run a pip command with the installed build tools, without a package index."""
    shutil.rmtree(tree / "build", ignore_errors=True)
    common = ("--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check")
    return run("-m", "pip", action, *common, *options, ".", cwd=tree, **variables)


def wheel(tree, folder, **variables):
    done = pip("wheel", tree, "--wheel-dir", folder, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        metadata = next(archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    return path.name, {name for name in names if ".dist-info/" not in name}, metadata


def python_files():
    """Return the files of the package that every installation contains."""
    package = ROOT / "src"
    interfaces = ("framewire/_fast/partial_message.pxd", "framewire/_fast/stream_core.pxd")
    patterns = ("framewire/**/*.py", "framewire/py.typed", "framewire/cli/*.html", *interfaces)
    return {path.relative_to(package).as_posix() for each in patterns for path in package.glob(each)} - {
        "framewire/_fast/_build.py"
    }


def test_source_distribution_holds_all_sources_and_no_build_output(tree, tmp_path):
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    done = run("-c", build, cwd=tree, FRAMEWIRE_EXTENSIONS="0")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    expected = {
        path.relative_to(tree).as_posix()
        for folder in ("cext", "src/framewire", "tests")
        for path in tree.joinpath(folder).rglob("*")
        if path.is_file()
    }
    assert expected <= names
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "setup.py", "Makefile"} <= names
    assert not {name for name in names if name.endswith((".so", ".pyd", ".pyc", "_build.py")) or ".venv" in name}


def test_pure_python_wheel_holds_only_python_files(tree, tmp_path):
    name, files, metadata = wheel(tree, tmp_path, FRAMEWIRE_EXTENSIONS="0")
    assert name.endswith("-py3-none-any.whl")
    assert files == python_files()
    assert "Requires-Dist: h11>=0.14" in metadata.splitlines()
    assert "Requires-Python: >=3.10" in metadata.splitlines()
    assert "License-Expression: MIT" in metadata.splitlines()


@pytest.mark.skipif("fast" not in LOADED, reason="the compiled twins are missing")
def test_compiled_wheel_adds_one_extension_per_twin(tree, tmp_path):
    name, files, _ = wheel(tree, tmp_path, FRAMEWIRE_EXTENSIONS="1")
    assert not name.endswith("-any.whl")
    checked = run(ROOT / "packaging/check_wheel.py", tmp_path / name, cwd=tmp_path)
    assert checked.stdout == "1 checked, all good\n"
    compiled = files - python_files() - {"framewire/_fast/_build.py"}
    assert {Path(path).name.partition(".")[0] for path in compiled} == EXTENSIONS
    assert {Path(path).parent.as_posix() for path in compiled} == {"framewire/_fast"}
    assert len(compiled) == len(EXTENSIONS)
    assert python_files() <= files


def test_install_without_compiler_falls_back_to_pure_python(tree, tmp_path):
    """The package works, and records the reason for each missing extension."""
    done = pip("install", tree, "--target", tmp_path, CC="/bin/false")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.rglob("*.so"))
    code = (
        "import framewire, framewire._fast._build as build; from framewire import CLIENT, Stream; "
        "print(framewire.__file__, *framewire.backend(), *sorted(build.FAILURES), "
        "Stream(CLIENT).receive(b'\\x81\\x02hi'))"
    )
    shown = run("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    names = " ".join(f"framewire._fast.{stem}" for stem in sorted(EXTENSIONS))
    assert shown.stdout.strip() == f"{tmp_path / 'framewire' / '__init__.py'} pure None {names} ['hi']", shown.stderr
    doctor = run("-m", "framewire", "doctor", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert doctor.returncode == 0
    assert "pure (plain Python)" in doctor.stdout
    assert "framewire._fast.mask did not compile" in doctor.stdout
    assert "/bin/false" in doctor.stdout


def test_required_extensions_without_compiler_fail_the_install(tree, tmp_path):
    done = pip("install", tree, "--target", tmp_path, CC="/bin/false", FRAMEWIRE_EXTENSIONS="1")
    assert done.returncode != 0
    assert "/bin/false" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_invalid_extensions_variable_fails_the_build(tree, tmp_path):
    done = pip("wheel", tree, "--wheel-dir", tmp_path, FRAMEWIRE_EXTENSIONS="yes")
    assert done.returncode != 0
    complaint = "FRAMEWIRE_EXTENSIONS is 'yes'; it takes 1 (must compile), 0 (do not), or nothing"
    assert complaint in done.stdout + done.stderr


def test_tests_of_wheels_need_no_packages_of_other_tests():
    """The release runs them with the packages of the group wheel-test alone."""
    others = ["aiohttp", "redis", "trio", "uvicorn", "uvloop"]
    block = f"import hypothesis, pytest, sys; sys.modules.update(dict.fromkeys({others}))"
    collect = "sys.exit(pytest.main('--collect-only -q -p no:cacheprovider -m engine tests/engine tests/http'.split()))"
    alone = {"PYTHONPATH": str(ROOT / "src"), "CI": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = run("-c", f"{block}; {collect}", cwd=ROOT, **alone)
    assert done.returncode == 0, done.stdout[-2000:]


def test_conda_recipe_agrees_with_pyproject():
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    settings = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())
    project = settings["project"]
    yaml = needed("ruamel.yaml").YAML(typ="safe", pure=True)
    recipe = yaml.load(ROOT.joinpath("packaging/conda/recipe.yaml"))
    about, needs = recipe["about"], recipe["requirements"]
    stated = recipe["context"]["version"], about["summary"], about["license"]
    assert stated == (project["version"], project["description"], project["license"])

    def names(requirements):
        return {each.replace(" ", "").lower() for each in requirements}

    assert names(needs["run"]) == {*names(project["dependencies"]), "python"}
    assert names(needs["host"]) == {*names(settings["build-system"]["requires"]), "pip", "python"}
    assert names(needs["build"][0]["then"]) >= names(each for each in needs["host"] if "cython" in each)
    suite = recipe["tests"][1]
    assert names(suite["requirements"]["run"]) == names(settings["dependency-groups"]["wheel-test"])
    tests = settings["tool"]["cibuildwheel"]["test-command"].replace("{project}/", "")
    assert suite["script"][-1] == tests


def test_workflows_pin_every_action_by_hash():
    workflows = list(ROOT.glob(".github/workflows/*.yml"))
    uses = [line for path in workflows for line in path.read_text().splitlines() if "uses:" in line]
    assert len(uses) > 10
    assert [line for line in uses if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+$", line)] == []


def test_every_documented_make_target_exists():
    """Every `make` command in the documentation names a target of the Makefile."""
    rules = "".join(ROOT.joinpath(name).read_text() for name in ("Makefile", "proof.mk"))
    targets = {name for line in re.findall(r"^([a-z -]+):(?!=)", rules, re.MULTILINE) for name in line.split()}
    declared = {name for line in re.findall(r"^\.PHONY:(.*)", rules, re.MULTILINE) for name in line.split()}
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/workflows/*.yml")]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:`|^    |\$ |run: )make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"test", "docs", "wheels"} <= named
    assert declared | named <= targets
