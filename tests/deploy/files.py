"""The files of deploy/, read as those who use them would."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


class Command(NamedTuple):
    """One call of ``animax`` in a file, with what is around it."""

    place: str
    arguments: list[str]
    environment: dict[str, str | None]
    end_seconds: float | None
    """That it is given from SIGTERM on; None where the file does not say."""


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return loaded


def manifests() -> list[dict[str, Any]]:
    """Every Kubernetes object, of the components too."""
    return [
        document
        for path in sorted(KUBERNETES.rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def instructions() -> list[tuple[str, str]]:
    """Of the Containerfile: name and what follows it."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line]


def unit() -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "systemd" / "animax.service")
    return parser


def seconds(text: str) -> float:
    return float(re.fullmatch(r"([0-9.]+)s?", text)[1])  # type: ignore[index]


def commands() -> Iterator[Command]:
    """Every call of ``animax`` in deploy/."""
    for name, service in compose()["services"].items():
        if "build" not in service:
            continue
        environment = dict(service.get("environment", {}))
        yield Command(f"compose {name}", service["command"], environment, seconds(service["stop_grace_period"]))
        if "healthcheck" in service:
            words = service["healthcheck"]["test"]
            assert words[:2] == ["CMD", "animax"]
            yield Command(f"compose {name} healthcheck", words[2:], environment, None)
    for manifest in manifests():
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            for container in pod["containers"]:
                environment = {variable["name"]: variable.get("value") for variable in container["env"]}
                place = f"kubernetes {manifest['metadata']['name']}"
                yield Command(place, container["args"], environment, pod["terminationGracePeriodSeconds"])
    given = dict(instructions())
    environment = dict(pair.split("=", 1) for pair in shlex.split(given["ENV"]))
    yield Command("Containerfile", json.loads(given["CMD"]), environment, None)
    words = json.loads(given["HEALTHCHECK"].partition("CMD ")[2])
    assert words[0] == "animax"
    yield Command("Containerfile healthcheck", words[1:], environment, None)
    service = unit()["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[0].endswith("/bin/animax")
    variables = dict(pair.split("=", 1) for pair in service["Environment"].split())
    yield Command("systemd", words[1:], variables, seconds(service["TimeoutStopSec"]))
