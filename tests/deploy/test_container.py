"""The image's recipe, and the composition: what can be said of them without a container runtime."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import lacking
from tests.deploy.files import DEPLOY, compose, instructions


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    if not linter.exists():
        lacking("hadolint is not installed (the test extra)")
    done = subprocess.run([linter, DEPLOY / "Containerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_and_installed_exists(repository: Path) -> None:
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert sources
    assert all((repository / source).exists() for source in sources)
    kept = {line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().split() if line.startswith("!")}
    assert set(sources) == kept
    project = (repository / "pyproject.toml").read_text()
    given = dict(rest.split("=", 1) for name, rest in instructions() if name == "ARG" and "=" in rest)
    for extra in given["EXTRAS"].split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
    assert given["PYTHON"] == "3.12"


def test_nothing_runs_as_root_or_writes_to_its_root() -> None:
    assert ("USER", "10001:10001") in instructions()
    services = compose()["services"]
    for name in ("server-a", "server-b", "worker", "balancer"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"] == ["/tmp"]


def test_names_within_the_composition_exist() -> None:
    whole = compose()
    for name, service in whole["services"].items():
        assert set(service.get("depends_on", {})) <= set(whole["services"]), name
        assert set(service["networks"]) <= set(whole["networks"]), name
        for needed in service.get("depends_on", {}):  # "service_healthy" needs a health check: its own or the image's
            other = whole["services"][needed]
            assert "healthcheck" in other or "build" in other
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in whole["volumes"], volume
        for option in service.get("command", []):
            if found := re.search(r"@([a-z]+)/", option):
                assert found[1] in whole["services"]


def test_only_the_balancer_is_reachable() -> None:
    services = compose()["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["balancer"]
    assert [name for name, service in services.items() if "outside" in service["networks"]] == ["balancer"]


@pytest.mark.skipif(os.name != "posix", reason="systemd")
def test_systemd_takes_the_unit(tmp_path: Path, program: object) -> None:
    analyze = program("systemd-analyze", "apt install systemd")  # type: ignore[operator]
    text = (DEPLOY / "systemd" / "animax.service").read_text()
    path = tmp_path / "animax.service"
    path.write_text(text.replace("/opt/animax/bin/animax", "/bin/true"))  # which is there
    done = subprocess.run([analyze, "verify", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", path], capture_output=True, text=True
    )
    assert judged.returncode == 0, judged.stdout  # exposure of 2.0 at most; 9.6 without any of it
