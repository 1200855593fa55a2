from __future__ import annotations

from pathlib import Path

import pytest

from animax.procedural import generate

from .standins import Pipeline, install


@pytest.fixture(scope="session")
def biped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rigs") / "biped.glb"
    path.write_bytes(generate("biped"))
    return path


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    return install(monkeypatch)
