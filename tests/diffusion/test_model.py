import json

import pytest

from animax.diffusion.model import available_models, load_model
from animax.errors import EngineError, ModelError, OptionError


def write_manifest(folder, **changes):
    values = {
        "format": "animax-model-1",
        "name": "x",
        "file": "denoiser.onnx",
        "sha256": "0" * 64,
        "channels": 64,
        "pose_size": 4,
        "rgb_size": 24,
        "frames": 33,
        "patch": 4,
        "fps": 16,
        "steps": 12,
        "guidance": 4.0,
        "shift": 3.0,
        "text_encoder": "0" * 64,
    }
    (folder / "manifest.json").write_text(json.dumps({**values, **changes}))


def test_unknown_model_names_those_that_ship():
    with pytest.raises(ModelError, match="no model 'nonesuch'"):
        load_model("nonesuch")


def test_available_models_are_loadable_folders():
    assert "text" not in available_models()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "animax-model-0"}, "format 'animax-model-0'; accepted: 'animax-model-1'"),
        ({"channels": "many"}, "channels is 'many'"),
        ({"file": "../denoiser.onnx"}, "accepted: a file name in the same folder"),
        ({}, "lacks its file 'denoiser.onnx'"),
    ],
)
def test_bad_manifests_are_named(tmp_path, changes, message):
    write_manifest(tmp_path, **changes)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_manifest_that_is_not_json(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        load_model(tmp_path)


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
