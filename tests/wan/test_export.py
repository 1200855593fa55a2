"""VAE and text encoder as ONNX: the same numbers as diffusers and transformers, at any batch size."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import onnx  # noqa: E402

from animax.diffusion.manifest import file_entry  # noqa: E402
from animax.errors import ModelError  # noqa: E402
from animax_engine.suitability import obstacles  # noqa: E402
from animax_engine.wan import export as module  # noqa: E402
from animax_engine.wan.export import PROFILES, parts_of, write_parts  # noqa: E402


@pytest.fixture(scope="module")
def written(wan_folder, tmp_path_factory):
    said = []
    folder = tmp_path_factory.mktemp("parts")
    return folder, write_parts(wan_folder, folder, frames=5, size=16, say=said.append), said


def test_graphs_compute_what_the_modules_do(written):
    _, _, said = written  # write_parts refuses what is farther than TOLERANCE from torch, in batches of one and three
    assert [line.split(":")[0] for line in said] == ["vae_encoder.onnx", "vae_decoder.onnx", "text_encoder.onnx"]
    assert all(float(line.split(", ")[1].split()[0]) < 1e-4 for line in said)


def test_tensorrt_can_take_them(written):
    folder, _, _ = written
    for name in ("vae_encoder", "vae_decoder", "text_encoder"):
        assert obstacles(onnx.load(folder / f"{name}.onnx"), PROFILES) == []


def test_every_file_is_told_by_hash(written):
    folder, told, _ = written
    assert json.loads((folder / "parts.json").read_text()) == told
    assert {"tokenizer/tokenizer.json", "vae_decoder.onnx"} <= set(told["files"])
    for name, entry in told["files"].items():
        assert file_entry(folder / name).sha256 == entry["sha256"]


def test_a_graph_that_computes_something_else_is_refused(wan_folder, tmp_path, monkeypatch):
    text = parts_of(wan_folder, 5, 16)[2:]
    monkeypatch.setattr(module, "parts_of", lambda *_: text)
    monkeypatch.setattr(module, "difference", lambda *_: 0.1)
    with pytest.raises(ModelError, match=r"1\.0e-01"):
        write_parts(wan_folder, tmp_path, 5, 16, say=lambda _: None)


@pytest.mark.parametrize(("frames", "size", "named"), [(6, 16, "frames"), (5, 24, "size")])
def test_sizes_that_the_vae_cannot_take_are_refused(wan_folder, frames, size, named):
    with pytest.raises(ModelError, match=named):
        parts_of(wan_folder, frames, size)
