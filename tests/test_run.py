"""The bootstrap script, apart from what it downloads."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def run(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run", repository / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(run, tmp_path, monkeypatch):
    """One whose pip only keeps what it was asked for."""
    made = run.Environment(tmp_path)
    made.asked = []
    made.python.parent.mkdir()
    made.python.touch()
    monkeypatch.setattr(made, "create", lambda: None)
    monkeypatch.setattr(made, "pip_install", lambda *arguments: made.asked.append(arguments))
    return made


def test_nothing_is_installed_twice(environment):
    environment.require("test")
    environment.require("test")
    environment.require()
    assert len(environment.asked) == 1
    assert "[test]" in environment.asked[0][1]
    assert "--constraint" in environment.asked[0]


def test_more_extras_are_added_to_those_that_are_there(environment):
    environment.require("test")
    environment.require("dev")
    assert "[dev,test]" in environment.asked[1][1]
    environment.require("dev", "test")
    assert len(environment.asked) == 2


def test_a_changed_lock_installs_anew(environment, run, tmp_path, monkeypatch):
    environment.require("test")
    lock = tmp_path / "lock.txt"
    lock.write_text("numpy==1")
    monkeypatch.setattr(run, "LOCK", lock)
    environment.require()
    assert "[test]" in environment.asked[1][1]


@pytest.mark.parametrize("stamp", ["", "{", "[]", '{"extras": 3}', json.dumps({"extras": ["test"], "state": "old"})])
def test_a_torn_or_foreign_stamp_is_no_error(environment, stamp):
    environment.stamp.write_text(stamp)
    environment.require("test")
    assert len(environment.asked) == 1


def test_a_failed_install_leaves_no_stamp(environment, run, monkeypatch):
    def fail(*_):
        raise run.SetupError("no network")

    monkeypatch.setattr(environment, "pip_install", fail)
    with pytest.raises(run.SetupError):
        environment.require("test")
    assert not environment.stamp.exists()


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("NewConnectionError('...: Failed to establish a new connection: [Errno 111]')", "network"),
        ("socket.gaierror: Temporary failure in name resolution", "network"),
        (
            "ERROR: (from versions: none)\nERROR: No matching distribution found for numpy==2.4.6",
            "nothing called numpy",
        ),
        ("(from versions: 1.0, 2.0)\nERROR: No matching distribution found for numpy==9", "no package numpy==9"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("error: subprocess-exited-with-error", "stands above"),
    ],
)
def test_why_pip_failed_is_one_line(run, output, says):
    reason = run.why_pip_failed(output)
    assert says in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["dance"], 2), (["check", "everything"], 2), (["demo", "only-a-rig.glb"], 1), (["setup", "x"], 1)],
)
def test_wrong_usage_is_one_line(repository, arguments, status):
    done = subprocess.run([sys.executable, "run.py", *arguments], cwd=repository, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].startswith("run.py: ")
    assert "Traceback" not in done.stderr


def test_the_script_parses_on_pythons_that_it_refuses(repository):
    """So that they can say so: no syntax that came after 3.6."""
    import ast

    ast.parse((repository / "run.py").read_text("utf-8"), feature_version=(3, 6))
