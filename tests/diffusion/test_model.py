from dataclasses import replace

import numpy as np
import pytest

from animax.diffusion.engine import MAX_BATCH
from animax.diffusion.model import load_model
from animax.errors import EngineError, ModelError, OptionError


@pytest.fixture(scope="module")
def model():
    return load_model("embedded", provider="cpu")


def test_a_model_is_what_its_manifest_says(model):
    assert (model.name, model.sha256, model.fps) == (model.manifest.name, model.manifest.sha256, model.manifest.fps)
    assert model.schedule.steps == model.manifest.steps
    assert model.space.codec.channels == model.manifest.channels


def test_requests_share_calls_by_the_provider_s_own_measure(model):
    assert model.denoiser.max_batch == MAX_BATCH["cpu"]


def test_warm_up_runs_the_network(model, monkeypatch):
    calls = []

    def denoiser(rgb, pose, *rest):
        calls.append(rgb.shape)
        return np.zeros_like(rgb), np.zeros_like(pose)

    repertoire = replace(model.repertoire)  # of which nothing is known yet
    monkeypatch.setitem(model.__dict__, "denoiser", denoiser)
    monkeypatch.setitem(model.__dict__, "repertoire", repertoire)
    model.warm_up()
    assert len(calls) == 1
    assert {"shapes", "_meanings"} <= vars(repertoire).keys()


def test_a_network_of_another_text_encoder_is_refused(write_folder, tmp_path):
    folder = write_folder(tmp_path / "x")
    with pytest.raises(ModelError, match="trained on text encoder 000000000000"):
        load_model(folder)


def test_unknown_provider_is_an_option_error():
    from animax.diffusion.engine import choose_provider

    with pytest.raises(OptionError, match="auto, cpu, cuda, tensorrt"):
        choose_provider("quantum")


def test_provider_that_is_not_installed_names_the_extra():
    import onnxruntime

    from animax.diffusion.engine import PROVIDERS, choose_provider

    absent = [name for name, value in PROVIDERS.items() if value not in onnxruntime.get_available_providers()]
    if not absent:
        pytest.skip("this ONNX Runtime has every provider")
    with pytest.raises(EngineError, match=r"animax\[gpu\]"):
        choose_provider(absent[0])
    assert choose_provider("auto") not in absent


def test_a_runtime_that_lies_over_the_one_for_gpus_is_named(monkeypatch, caplog):
    from animax.diffusion import engine

    if engine.PROVIDERS["cuda"] in engine.onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    assert not engine.is_overlaid()
    monkeypatch.setattr(engine.metadata, "distributions", lambda name: [name])
    with pytest.raises(EngineError, match=r"pip uninstall -y onnxruntime onnxruntime-gpu"):
        engine.choose_provider("cuda")
    assert engine.choose_provider("auto") == "cpu"
    assert "running on the CPU" in caplog.text
