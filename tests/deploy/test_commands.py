"""Every command, option and variable that deploy/ names is one that animax has, and the times fit together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from animax.cli.command_line import build_parser
from animax.service import ServerConfig
from tests.deploy.files import DEPLOY, Command, commands, compose, instructions, manifests

COMMANDS = list(commands())
FOREIGN = {"PATH", "HOME", "PGPASSWORD", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
"""Variables that are not ours: the shell's, libpq's, Python's."""
MARGIN = 5.0
"""Seconds: beyond drain and grace, for threads to finish their step and connections to close."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_every_option_exists(command: Command) -> None:
    options = build_parser().parse_args(command.arguments)
    assert options.run


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_every_variable_exists(command: Command, repository: Path) -> None:
    source = "".join(path.read_text("utf-8") for path in (repository / "server" / "animax").rglob("*.py"))
    unknown = [name for name in command.environment if name not in FOREIGN and f'"{name}"' not in source]
    assert not unknown


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.end_seconds], ids=lambda command: command.place)
def test_nobody_is_killed_before_its_grace_is_over(command: Command) -> None:
    options = build_parser().parse_args(command.arguments)
    needed = options.grace_seconds + (options.drain_seconds if command.arguments[0] == "serve" else 0)
    assert command.end_seconds is not None
    assert command.end_seconds >= needed + MARGIN


def test_what_is_named_in_comments_exists_too(repository: Path) -> None:
    """Options and variables of animax in any file of deploy/ and in the page about it."""
    texts = {path: path.read_text("utf-8") for path in DEPLOY.rglob("*") if path.is_file()}
    texts[repository / "docs" / "deployment.md"] = (repository / "docs" / "deployment.md").read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in (repository / "server" / "animax").rglob("*.py"))
    own = {name for text in texts.values() for name in re.findall(r"\bANIMAX_[A-Z_]+\b", text)}
    assert {name for name in own if f'"{name}"' not in source} <= {"ANIMAX_DATABASE_PASSWORD"}  # compose's own


def test_ports_are_those_of_the_server() -> None:
    exposed = dict(instructions())["EXPOSE"].split()
    assert exposed[0] == str(ServerConfig().port)
    balancer = (DEPLOY / "nginx.conf").read_text("utf-8")
    for service in ("server-a", "server-b"):
        assert f"server {service}:{ServerConfig().port} " in balancer
        options = build_parser().parse_args(compose()["services"][service]["command"])
        assert f"server {service}:{options.web_port} " in balancer
    for manifest in manifests():
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            options = build_parser().parse_args(container["args"])
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert ports["metrics"] == options.metrics_port
            assert ports.get("grpc", ServerConfig().port) == ServerConfig().port
            assert f"{ports['metrics']}" in exposed
