from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from animax.diffusion.manifest import FileEntry, PromptFiles, VideoFiles, read_manifest
from animax.diffusion.registry import PACKAGE
from animax.diffusion.tensorrt_cache import Device
from animax_engine import build_trt, cli

DEVICE = Device("A GPU", "9.0", "580.1", "10.9.0", "1.31.1")


def test_without_the_library_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert cli.main(["build-trt", "embedded"]) == 1
    assert "animax[gpu]" in capsys.readouterr().err


def test_the_command_builds_by_the_model_s_own_digest(monkeypatch, capsys, tmp_path):
    asked = []

    def build(path, key, cache, *, anew):
        asked.append((path.name, key, cache.root, anew))
        return anew

    monkeypatch.setattr(build_trt, "this_device", lambda: DEVICE)
    monkeypatch.setattr(build_trt, "build_engines", build)
    options = ["--cache", str(tmp_path), "--max-batch", "8", "--precision", "bf16"]
    assert build_trt.main(["embedded", *options]) == 0
    assert "there already" in capsys.readouterr().out
    assert build_trt.main(["embedded", *options, "--anew"]) == 0
    assert "built in" in capsys.readouterr().out
    (file, key, root, _), _ = asked
    assert (file, root, key.precision, key.batch) == ("denoiser.onnx", tmp_path, "bf16", (1, 2, 8))
    assert key.device == DEVICE


def test_every_graph_of_a_model_is_built_as_the_server_asks_for_it(monkeypatch, tmp_path):
    plain = read_manifest(PACKAGE / "embedded")
    graphs = ["denoiser.onnx", "vae_encoder.onnx", "vae_decoder.onnx", "text_encoder.onnx"]
    manifest = replace(
        plain,
        precision="bf16",
        files={name: FileEntry(str(i) * 64, 1) for i, name in enumerate([*graphs, "denoiser.weights", "words.json"])},
        video=VideoFiles("vae_encoder.onnx", "vae_decoder.onnx", 0.02, 48),
        prompt=PromptFiles("text_encoder.onnx", "words.json"),
    )
    asked = []
    monkeypatch.setattr(build_trt, "this_device", lambda: DEVICE)
    monkeypatch.setattr(build_trt, "read_manifest", lambda folder: manifest)
    monkeypatch.setattr(type(manifest), "verify", lambda *_: None)
    monkeypatch.setattr(build_trt, "build_engines", lambda path, key, cache, anew: asked.append((path.name, key)))
    assert build_trt.main(["embedded", "--cache", str(tmp_path)]) == 0
    assert [name for name, _ in asked] == graphs
    for name, key in asked:
        assert key.model == manifest.digest(name)
        assert key.batch == (1, 1, 1)  # a sample of a large network fills a GPU
        assert key.precision == ("fp32" if name.startswith("vae") else "bf16")


def test_a_batch_of_one_is_a_profile_too(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(build_trt, "this_device", lambda: DEVICE)
    monkeypatch.setattr(build_trt, "build_engines", lambda path, key, cache, anew: asked.append(key.batch))
    assert build_trt.main(["embedded", "--cache", str(tmp_path), "--max-batch", "1"]) == 0
    assert asked == [(1, 1, 1)]


@pytest.mark.parametrize(
    ("wrong", "status"), [(["nobody"], 1), (["embedded", "--max-batch", "2", "--opt-batch", "3"], 2)]
)
def test_wrong_input_is_named(wrong, status, monkeypatch, capsys):
    monkeypatch.setattr(build_trt, "this_device", lambda: DEVICE)
    assert cli.main(["build-trt", *wrong]) == status
    assert "accepted" in capsys.readouterr().err
