"""The workflows run targets that exist, with pinned actions, few permissions and a time limit."""

import re

import pytest
from benchmarks import proof
from documents import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
#: Campaigns that are not in proof.yml: they need the checkout of another project, or take a day.
ELSEWHERE = {"microhttpd", "handlers", "wpt", "upstream", "parity", "qemu-twins", "wasm", "pypy"}

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(text):
    """Return the text of each job of a workflow, by name."""
    parts = re.split(r"^  ([\w-]+):\n", text.partition("\njobs:\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def made(text):
    """Return the targets of `make` in a workflow."""
    commands = re.findall(r"\bmake ((?:[\w./-]+(?:=\S*)? ?)+)", re.sub(r"#.*", "", text))
    return {word for command in commands for word in command.split() if "=" not in word}


@each_workflow
def test_workflow_makes_targets_that_exist(path):
    rules = "".join(ROOT.joinpath(name).read_text() for name in ("Makefile", "proof.mk")).replace("$(VENV)", ".venv")
    targets = {target for line in re.findall(r"^([\w./ -]+):", rules, re.MULTILINE) for target in line.split()}
    assert made(path.read_text()) - targets == set()


@each_workflow
def test_workflow_pins_actions_and_gives_no_permissions_to_all_jobs(path):
    text = path.read_text()
    actions = re.findall(r"\buses: (\S+)", text)
    assert [action for action in actions if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []
    assert text.count("persist-credentials: false") == sum(action.startswith("actions/checkout@") for action in actions)
    assert "\npermissions:\n  contents: read\n\n" in text


@each_workflow
def test_every_job_has_a_time_limit(path):
    found = jobs(path.read_text())
    assert found
    assert [name for name, text in found.items() if not re.search(r"^    timeout-minutes: \d+$", text, re.M)] == []


def test_every_campaign_runs_once_a_week():
    text = (ROOT / ".github/workflows/proof.yml").read_text()
    weekly = made(text) | ({"fuzz-kernels", "fuzz-twins"} if "fuzz" in made(text) else set())
    assert proof.CAMPAIGNS.keys() - ELSEWHERE - weekly == set()
    assert proof.CAMPAIGNS.keys() >= ELSEWHERE
    assert "schedule:" in text
