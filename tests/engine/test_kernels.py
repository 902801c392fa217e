"""C kernels: build test_kernels.c, with and without sanitizers, and run each of its groups."""

import re

import pytest
from compilers import KERNELS, ROOT, give_up, run

PROGRAM = ROOT / "tests/engine/test_kernels.c"
GROUPS = re.findall(r'\{"(\w+)", test_\w+\}', PROGRAM.read_text())
SANITIZERS = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
TRIVIAL = '#include <stdio.h>\nint main(void) { return printf("\\n") < 0; }\n'


@pytest.fixture(scope="session", params=[("-O2",), SANITIZERS], ids=["optimised", "sanitized"])
def program(request, compiler, tmp_path_factory):
    """Build the test program; return its path."""
    directory = tmp_path_factory.mktemp("kernels")
    flags = ["-std=gnu11", "-g", *request.param]
    trivial = directory / "trivial.c"
    trivial.write_text(TRIVIAL)
    check = run(*compiler, *flags, str(trivial), "-o", str(directory / "trivial"))
    if check.returncode == 0:
        check = run(str(directory / "trivial"))
    if check.returncode != 0:
        reason = f"{compiler[0]} {' '.join(request.param)}: {check.stderr.strip()[-200:]}"
        if request.param is SANITIZERS:
            pytest.skip(reason)
        give_up(reason)
    target = directory / "test_kernels"
    sources = map(str, (PROGRAM, *sorted(KERNELS.glob("*.c"))))
    built = run(*compiler, *flags, f"-I{KERNELS}", *sources, "-o", str(target))
    assert built.returncode == 0, built.stderr
    return target


@pytest.mark.parametrize("group", GROUPS)
def test_c_kernel_group_passes(program, group):
    result = run(str(program), group)
    assert result.returncode == 0, result.stdout + result.stderr


def test_c_test_program_rejects_unknown_group(program):
    """A misspelt group must not pass by running nothing."""
    result = run(str(program), "no_such_group")
    assert result.returncode == 1
    assert "no_such_group" in result.stderr
