"""Export of a small network: what ONNX Runtime computes is what torch computes."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from animax.diffusion.engine import INPUTS, OUTPUTS  # noqa: E402
from animax.diffusion.model import load_model  # noqa: E402
from animax.errors import ModelError  # noqa: E402
from animax_engine.export import Defaults, example_inputs, read_checkpoint, write_model  # noqa: E402
from animax_engine.network import EMBEDDED, NetworkConfig, VideoPoseTransformer  # noqa: E402

FRAMES = 9


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    config = replace(EMBEDDED, width=128, depth=2, heads=2, ffn=128)
    network = VideoPoseTransformer(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    folder = tmp_path_factory.mktemp("model")
    state = {"network": config.as_dict(), "averaged": network.state_dict(), "frames": FRAMES}
    torch.save(state, folder / "checkpoint.pt")
    figures = write_model(folder / "checkpoint.pt", folder / "model", "small", Defaults(steps=2))
    return folder / "model", figures, config


def test_parity_with_torch_and_of_batches(exported):
    _, figures, _ = exported
    assert figures["torch"] < 1e-4
    assert figures["batch"] < 1e-4


def test_graph_is_valid_and_weighs_half(exported):
    folder, _, _ = exported
    graph = onnx.load(folder / "denoiser.onnx").graph
    assert [i.name for i in graph.input] == list(INPUTS)
    assert [o.name for o in graph.output] == list(OUTPUTS)
    assert all(i.type.tensor_type.shape.dim[0].dim_param for i in graph.input)
    large = [w for w in graph.initializer if np.prod(w.dims) >= 4096]
    assert large
    assert all(w.data_type == onnx.TensorProto.FLOAT16 for w in large)


def test_training_can_start_from_the_folder(exported):
    folder, _, config = exported
    state = read_checkpoint(folder)
    restored = VideoPoseTransformer(NetworkConfig.from_dict(state["network"]))
    restored.load_state_dict(state["averaged"])
    assert restored.config == config
    assert state["frames"] == FRAMES
    original = torch.load(folder.parent / "checkpoint.pt", weights_only=True)["averaged"]
    for name, weight in restored.state_dict().items():
        torch.testing.assert_close(weight, original[name], rtol=1e-3, atol=1e-6, msg=name)


def test_graph_tells_nothing_of_the_machine(exported):
    folder, _, _ = exported
    data = (folder / "denoiser.onnx").read_bytes()
    assert b".py" not in data
    assert str(folder.parent).encode() not in data


def test_written_folder_loads_as_a_model(exported):
    folder, _, config = exported
    model = load_model(folder, provider="cpu", threads=1)
    assert (model.name, model.schedule.steps, model.schedule.frames) == ("small", 2, FRAMES)
    model.warm_up()
    values = example_inputs(config, FRAMES, batch=1)
    rgb, pose = model.denoiser(*(values[name] for name in INPUTS))
    assert rgb.shape == values["rgb"].shape
    assert pose.shape == values["pose"].shape


def test_altered_network_is_refused_by_name(exported, tmp_path):
    folder, _, _ = exported
    data = bytearray((folder / "denoiser.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "denoiser.onnx").write_bytes(data)
    (tmp_path / "manifest.json").write_text((folder / "manifest.json").read_text())
    with pytest.raises(ModelError, match=r"denoiser\.onnx has SHA-256"):
        load_model(tmp_path)


def test_model_of_another_text_encoder_is_refused(exported, tmp_path):
    folder, _, _ = exported
    manifest = json.loads((folder / "manifest.json").read_text())
    (tmp_path / "denoiser.onnx").write_bytes((folder / "denoiser.onnx").read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "text_encoder": "0" * 64}))
    with pytest.raises(ModelError, match="text encoder 000000000000"):
        load_model(tmp_path)
