"""The build for OSS-Fuzz and ClusterFuzzLite: one script, here with stand-ins for the image's tools."""

import os
import re
import shutil
import subprocess

import pytest
from documents import ROOT

PROJECTS = [ROOT / ".clusterfuzzlite", ROOT / "packaging/oss-fuzz"]
SCRIPT = ROOT / "packaging/oss-fuzz/build.sh"
#: What stands in for compilers, pip and the image's own commands: it makes the file after `-o`, or
#: notes the source that it gets.
STAND_IN = """#!/bin/bash -eu
case $(basename "$0") in
    compile_python_fuzzer) test -f "$1"; touch "$OUT/$(basename "$1" .py)"; exit;;
    zip) test "$#" -gt 3; test -f "$4"; touch "$3"; exit;;
    pip3) test -f "$2/setup.py"; exit;;
esac
while [ "$#" -gt 0 ]; do
    if [ "$1" = -o ]; then touch "$2"; elif [[ $1 == *.[co] ]]; then test -f "$1"; fi
    shift
done
"""


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_image_gets_the_build_script_of_oss_fuzz(project):
    dockerfile = (project / "Dockerfile").read_text()
    (source,) = re.findall(r"^COPY (\S+) \$SRC/$", dockerfile, re.MULTILINE)
    # ClusterFuzzLite builds from the root of the repository, OSS-Fuzz from the folder of the project.
    context = ROOT if "COPY . $SRC/framewire" in dockerfile else project
    assert (context / source).samefile(SCRIPT)


def test_both_projects_run_the_same_fuzzers():
    assert len({(project / "project.yaml").read_text() for project in PROJECTS}) == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_build_script_builds_each_fuzzer_with_its_seeds(tmp_path):
    tools, out, work = tmp_path / "tools", tmp_path / "out", tmp_path / "work"
    for folder in (tools, out, work):
        folder.mkdir()
    for name in ("cc", "c++", "pip3", "zip", "compile_python_fuzzer"):
        (tools / name).write_text(STAND_IN)
        (tools / name).chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}", "OUT": out, "WORK": work, "CC": "cc", "CXX": "c++",
        "CFLAGS": "", "CXXFLAGS": "", "LIB_FUZZING_ENGINE": "-fsanitize=fuzzer",
    }  # fmt: skip
    subprocess.run(["bash", SCRIPT], cwd=ROOT, env=environment, check=True)
    kernels = {f"kernel_{path.stem}" for path in ROOT.glob("fuzz/kernels/*.c")}
    (targets,) = re.findall(r"^TWINS := (.+)$", (ROOT / "proof.mk").read_text(), re.MULTILINE)
    fuzzers = kernels | set(targets.split())
    assert {path.name for path in out.iterdir()} == fuzzers | {f"{name}_seed_corpus.zip" for name in fuzzers}
