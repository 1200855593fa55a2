"""The rules of the tree: what may import what, what stays small, what is locked."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"animax": ROOT / "server" / "animax", "animax_engine": ROOT / "engine_export" / "animax_engine"}
GENERATED = ROOT / "server" / "animax" / "v1"
LAYERS = (
    {"bone_map", "errors", "rotations", "request", "v1", "variants"},
    {"assets", "views", "diffusion", "motion", "procedural"},
    {"pipeline", "interactive", "retargeting"},
    {"wire"},
    {"service", "client", "performance_stream"},
    {"cli"},
)
"""Data flows down: a part imports only from its own row and the rows above it."""
ACROSS = {"deploy", "e2e", "plugins", "procedural", "reliability", "service"}
"""Folders of tests that are sorted by what can be seen from outside, not by module."""
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


def module_files(package: str) -> list[Path]:
    return sorted(p for p in PACKAGES[package].rglob("*.py") if GENERATED not in p.parents)


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every import in a file; name is None for ``import module``."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}: imports within the packages are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


def part(module: str) -> str | None:
    """``assets`` for ``animax.assets.rig``."""
    names = module.split(".")
    return names[1] if names[0] == "animax" and len(names) > 1 else None


def test_server_never_imports_the_engine_export_nor_torch():
    foreign = {"animax_engine", "torch", "onnx", "transformers"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in module_files("animax")
        for module, _ in imports(path)
        if module.split(".")[0] in foreign
    ]
    assert not wrong


def test_data_flows_down():
    rank = {name: i for i, row in enumerate(LAYERS) for name in row}
    wrong = []
    for path in module_files("animax"):
        own = path.relative_to(PACKAGES["animax"]).with_suffix("").parts[0]
        for module, name in imports(path):
            if module == "animax" and name is not None:
                module = f"animax.{name}"
            other = part(module)
            if own in rank and other in rank and rank[other] > rank[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_every_part_has_a_layer():
    parts = {p.stem for p in PACKAGES["animax"].iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert parts - {"__init__", "__main__"} <= set().union(*LAYERS)


@pytest.mark.parametrize("package", PACKAGES)
def test_private_names_stay_in_their_module(package):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} of {module}"
        for path in module_files(package)
        for module, name in imports(path)
        if module.split(".")[0] in PACKAGES and name is not None and re.match(r"_[^_]", name)
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_a_vague_name(package):
    assert not [str(path.relative_to(ROOT)) for path in module_files(package) if path.stem in VAGUE]


def test_importing_all_of_the_server_loads_no_torch():
    """Every module, also those that other modules import only when they are needed."""
    program = """
import importlib, pkgutil, sys, animax
for module in pkgutil.walk_packages(animax.__path__, "animax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sorted(name.split(".")[0] for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"onnxruntime", "numpy"} <= loaded
    assert not loaded & {"torch", "onnx", "transformers", "animax_engine"}


def test_the_command_line_starts_without_the_heavy_libraries():
    program = "import sys, animax.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"numpy", "scipy", "cv2", "onnxruntime", "grpc", "google"}


def test_every_dependency_is_locked():
    lock = (ROOT / "requirements" / "lock.txt").read_text("utf-8")
    pinned = {canonicalize_name(m) for m in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    needed = [Requirement(line) for line in metadata.requires("animax") or []]
    free = re.compile(r"extra == ['\"](gpu|distil)['\"]")
    asked = {canonicalize_name(r.name) for r in needed if not free.search(str(r.marker))} - {"animax"}
    assert len(asked) > 10
    assert asked <= pinned, "run: python run.py lock"


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda p: p.name)
def test_locks_name_no_registry(path):
    assert "://" not in path.read_text("utf-8")


def test_every_test_file_mirrors_a_module():
    """tests/assets/test_rig.py is about assets/rig.py, as is test_rig_<aspect>.py."""
    modules = {path.relative_to(root).with_suffix("") for root in PACKAGES.values() for path in root.rglob("*.py")}
    strays = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        place = path.relative_to(ROOT / "tests")
        if place.parts[0] in {*ACROSS, "test_layout.py", "test_run.py"}:
            continue
        words = place.stem.removeprefix("test_").split("_")
        if not any(place.parent / "_".join(words[:end]) in modules for end in range(1, len(words) + 1)):
            strays.append(str(place))
    assert not strays
