"""The scripts for the completion of shells, that for bash in bash."""

import subprocess

import pytest
from backends import needed
from commands import run

from framewire.cli import main

COMPLETE = """
source ./script
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_framewire framewire "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the script and some files."""
    needed("shtab")
    done = run("completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path_factory.mktemp("bash")
    (folder / "script").write_text(done.stdout)
    (folder / "frames.hex").touch()
    (folder / "fragments").mkdir()
    return folder


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("i", ["inspect"]),
        ("inspect --j", ["--json"]),
        ("inspect --from ", ["client", "server"]),
        ("inspect fra", ["fragments", "frames.hex"]),
        ("connect --ca fra", ["fragments", "frames.hex"]),
        ("serve --static fra", ["fragments"]),
        ("serve --config fra", ["fragments", "frames.hex"]),
        ("completion ", ["bash", "fish", "zsh"]),
    ],
)
def test_bash_completes_commands_options_and_files(folder, line, completions):
    command = ["bash", "-c", COMPLETE, "bash", "framewire", *line.split(" ")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    assert (sorted(done.stdout.split()), done.stderr) == (completions, "")


@pytest.mark.parametrize(("shell", "text"), [("zsh", "#compdef framewire\n"), ("fish", "complete -c framewire ")])
def test_scripts_for_other_shells_have_all_options(shell, text):
    needed("shtab")
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert text in done.stdout
    for option in ("subprotocol", "websock-handlers", "linger", "warmup"):
        assert option in done.stdout


def test_completion_without_shtab_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setattr("framewire.cli.optional_packages.find_spec", lambda package: None)
    assert main(["completion", "bash"]) == 69
    assert "pip install 'framewire[cli]'" in capsys.readouterr().err
