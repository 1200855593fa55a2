from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from animax.cli import main
from animax.diffusion import registry


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("ANIMAX_MODELS", str(tmp_path))
    monkeypatch.setattr(registry, "config_folder", lambda: tmp_path / "nobody")
    return tmp_path


def copy(place, name):
    shutil.copytree(registry.PACKAGE / "embedded", place / name)
    return place / name


def test_list_tells_what_is_there(place, capsys):
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "embedded" in out
    assert "Apache-2.0" in out
    assert "package" in out


def test_list_tells_hidden_and_unusable_ones(place, capsys):
    copy(place, "a")
    (place / "b").mkdir()
    (place / "b" / "manifest.json").write_text("{")
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "package (hidden by the one above)" in out
    assert "b                cannot be used: manifest.json of 'b' is not JSON" in out


def test_list_as_json_is_for_scripts(place, capsys):
    assert main(["models", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    data = {name: (registry.PACKAGE / "embedded" / name).read_bytes() for name in ("denoiser.onnx", "repertoire.npz")}
    listing = "".join(f"{hashlib.sha256(bytes_).hexdigest()}  {name}\n" for name, bytes_ in data.items())
    assert listed["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    assert listed["size"] == sum(map(len, data.values()))


def test_verify_passes_what_is_right_and_names_what_is_not(place, capsys):
    assert main(["models", "verify"]) == 0
    assert "embedded (package): ok" in capsys.readouterr().out
    folder = copy(place, "mine")
    data = bytearray((folder / "denoiser.onnx").read_bytes())
    data[1000] ^= 1
    (folder / "denoiser.onnx").write_bytes(data)
    assert main(["models", "verify"]) == 1
    captured = capsys.readouterr()
    assert "denoiser.onnx has SHA-256" in captured.err
    assert "embedded (package): ok" in captured.out
    assert main(["models", "verify", str(folder)]) == 1
    assert main(["models", "verify", "nonesuch"]) == 1
    assert "no model 'nonesuch'" in capsys.readouterr().err
