"""What tests of several areas share: real files beside the checkout, and tools that only some machines have."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = REPOSITORY.parent / "shared" / "data"
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# tests work on small arrays, where threads that wait for one another cost more than they bring
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("animax", deadline=None)  # a busy machine is no failure
settings.load_profile("animax")


def lacking(reason: str) -> NoReturn:
    """End a test whose tool is not installed: CI installs all of them, so there it is a failure."""
    if IN_CI:
        pytest.fail(f"{reason}; CI must have it", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_rigs() -> Path:
    """The folder of real rigs (``manifest.json``, ``rigs/``) beside the checkout; skips where there is none."""
    if not (REAL_DATA / "manifest.json").is_file():
        pytest.skip("no folder of real rigs beside the checkout (../shared/data)")
    return REAL_DATA


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """Path of a program, given its name and how to get it; without it the test fails in CI and skips elsewhere."""

    def find(name: str, source: str) -> str:
        path = shutil.which(name)
        if path is None:
            lacking(f"{name} is not installed ({source})")
        return path

    return find


@pytest.fixture(scope="session")
def blender_python() -> Path:
    """The Python that has Blender as a module; without it the test fails in CI and skips elsewhere."""
    folder = REPOSITORY / ".venv-blender"
    python = folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"
    if not python.is_file():
        lacking("Blender's Python module is not installed (python run.py interop)")
    return python


@pytest.fixture(scope="session")
def authority(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]
) -> Callable[[str], list[bytes]]:
    """Issues certificates: ``[roots, certificate, key]`` for a common name, all from one authority of this test's."""
    openssl, folder = program("openssl", "apt install openssl"), tmp_path_factory.mktemp("certificates")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]

    def call(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]  # without it Python 3.13 trusts no root
    call("req", "-x509", *curve, *usage, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")

    def issue(name: str) -> list[bytes]:
        (folder / "names").write_text(f"subjectAltName=DNS:{name}")
        call("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        call("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
        return [(folder / file).read_bytes() for file in ("ca.pem", f"{name}.pem", f"{name}.key")]

    return issue
