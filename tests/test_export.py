"""Export of a small network: what ONNX Runtime computes is what torch computes."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from animax.assets import load_rig  # noqa: E402
from animax.diffusion.engine import OUTPUTS  # noqa: E402
from animax.diffusion.model import load_model  # noqa: E402
from animax.errors import ModelError  # noqa: E402
from animax.pipeline import animate  # noqa: E402
from animax.procedural import generate  # noqa: E402
from animax.request import Request  # noqa: E402
from animax.views.camera import ROOM  # noqa: E402
from animax_engine import cli, export, runtimes  # noqa: E402
from animax_engine.export import (  # noqa: E402
    Defaults,
    example_inputs,
    inputs_of,
    network_of,
    read_network,
    read_state,
    repertoire_in,
    to_onnx,
    write_folder,
)
from animax_engine.network import EMBEDDED, NetworkConfig, VideoPoseTransformer  # noqa: E402
from animax_engine.triton import write_repository  # noqa: E402

FRAMES = 9


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A checkpoint, its network and its graph, which takes long to trace."""
    torch.manual_seed(0)
    config = replace(EMBEDDED, width=128, depth=2, heads=2, ffn=128)
    network = VideoPoseTransformer(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    network.eval().requires_grad_(False)
    folder = tmp_path_factory.mktemp("model")
    state = {"network": config.as_dict(), "averaged": network.state_dict(), "frames": FRAMES, "room": 1.3}
    torch.save(state, folder / "checkpoint.pt")
    return folder / "checkpoint.pt", network, to_onnx(network, FRAMES)


@pytest.fixture(scope="module")
def exported(traced):
    checkpoint, network, graph = traced
    folder = checkpoint.parent / "model"
    figures, problems = write_folder(graph, network, FRAMES, folder, "small", Defaults(steps=2), "fp16")
    assert problems == []  # TensorRT can take it
    return folder, figures, network.config


def test_parity_with_torch_and_of_batches(exported):
    _, figures, _ = exported
    assert figures.torch < 1e-4
    assert figures.batch < 1e-4
    assert figures.trained < 2e-3  # the weights are stored in half precision


def test_graph_is_valid_and_weighs_half(exported):
    folder, _, _ = exported
    graph = onnx.load(folder / "denoiser.onnx").graph
    assert [i.name for i in graph.input] == list(inputs_of(EMBEDDED))
    assert [o.name for o in graph.output] == list(OUTPUTS)
    assert all(i.type.tensor_type.shape.dim[0].dim_param for i in graph.input)
    large = [w for w in graph.initializer if np.prod(w.dims) >= 4096]
    assert large
    assert all(w.data_type == onnx.TensorProto.FLOAT16 for w in large)


def test_what_a_model_of_an_earlier_version_lacks_starts_fresh_and_is_not_evaluated(exported, tmp_path):
    folder, _, _ = exported
    shutil.copytree(folder, tmp_path / "earlier")
    model = onnx.load(folder / "denoiser.onnx")
    kept = [weight for weight in model.graph.initializer if not weight.name.startswith("network.rgb_gate.")]
    assert len(kept) < len(model.graph.initializer)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, tmp_path / "earlier" / "denoiser.onnx")
    whole, lacking = (set(read_state(place)["averaged"]) for place in (folder, tmp_path / "earlier"))
    assert whole - lacking == {"rgb_gate.weight", "rgb_gate.bias"}
    with pytest.raises(ModelError, match="the weights of earlier are not of the network that it describes"):
        read_network(tmp_path / "earlier")


def test_training_can_start_from_the_folder(exported):
    folder, _, config = exported
    state = read_state(folder)
    restored = VideoPoseTransformer(NetworkConfig.from_dict(state["network"]))
    restored.load_state_dict(state["averaged"])
    assert restored.config == config
    assert (state["frames"], state["room"]) == (FRAMES, ROOM)
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
    rgb, pose = model.denoiser(*(values[name] for name in inputs_of(EMBEDDED)))
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


def test_end_to_end_joints_are_those_of_torch(exported):
    """A whole clip through torch and through ONNX Runtime: joints within 0.2 % of the rig's size."""
    folder, _, config = exported
    model = load_model(folder, provider="cpu", threads=1)
    network = VideoPoseTransformer(config)
    network.load_state_dict(read_state(folder)["averaged"])
    network.eval()

    def by_torch(*arrays):
        with torch.inference_mode():
            return tuple(tensor.numpy() for tensor in network(*(torch.from_numpy(array) for array in arrays)))

    rig = load_rig(generate("quadruped", motions=False))
    request = Request("walks forward", seconds=0.5, foot_cleanup=False)
    joints = [
        rig.skeleton.positions(animate(rig, request, one).clip.pose)
        for one in (model, replace(model, denoiser=by_torch))
    ]
    assert np.abs(joints[0] - joints[1]).max() < 0.002 * rig.size


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-4), ("bf16", 2e-2), ("int8", 0.2)])
def test_other_precisions_load_and_come_near(traced, tmp_path, precision, error):
    checkpoint, network, graph = traced
    figures, problems = write_folder(graph, network, FRAMES, tmp_path / "model", "small", Defaults(), precision)
    assert figures.trained < error
    assert load_model(tmp_path / "model", provider="cpu", threads=1).manifest.precision == precision
    if precision == "int8":
        assert any("MatMulInteger" in problem for problem in problems)
        assert any("DynamicQuantizeLinear" in problem for problem in problems)
    else:
        assert problems == []
        assert figures.torch < 1e-4
        assert figures.batch < 1e-4
        restored = read_state(tmp_path / "model")["averaged"]
        trained = torch.load(checkpoint, weights_only=True)["averaged"]
        for name, weight in restored.items():
            torch.testing.assert_close(weight, trained[name], rtol=1e-2, atol=1e-5, msg=name)


def test_what_is_too_large_for_one_message_has_its_weights_beside(traced, tmp_path, monkeypatch):
    checkpoint, network, graph = traced
    monkeypatch.setattr(export, "LARGEST_MESSAGE", 10_000)
    folder = tmp_path / "model"
    for _ in range(2):  # written again, the file of weights does not grow
        figures, problems = write_folder(graph, network, FRAMES, folder, "large", Defaults(), "fp32")
        assert figures.torch < 1e-4
        assert problems == []
    model = load_model(folder, provider="cpu", threads=1)
    assert set(model.manifest.files) == {"denoiser.onnx", "denoiser.weights"}
    assert (folder / "denoiser.onnx").stat().st_size < (folder / "denoiser.weights").stat().st_size
    trained = torch.load(checkpoint, weights_only=True)["averaged"]
    for name, weight in read_state(folder)["averaged"].items():
        torch.testing.assert_close(weight, trained[name], msg=name)
    write_repository(folder, tmp_path / "triton")
    assert (tmp_path / "triton" / "large_denoiser" / "1" / "denoiser.weights").is_file()
    with (folder / "denoiser.weights").open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(ModelError, match=r"denoiser\.weights has SHA-256"):
        load_model(folder)


def test_the_command_writes_folder_and_triton_repository(traced, tmp_path, capsys, monkeypatch):
    checkpoint, _, graph = traced
    monkeypatch.setattr(export, "to_onnx", lambda network, frames: graph)
    arguments = [str(checkpoint), str(tmp_path / "model"), "--name", "mine", "--triton", str(tmp_path / "triton")]
    assert export.main(arguments) == 0
    out = capsys.readouterr().out
    assert "TensorRT: suitable" in out
    assert read_state(tmp_path / "model")["room"] == 1.3
    assert (tmp_path / "triton" / "mine_denoiser" / "config.pbtxt").is_file()
    assert cli.main(["export", str(tmp_path / "nothing"), "--triton", str(tmp_path / "x")]) == 1
    assert "has no manifest.json" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        export.main([str(checkpoint)])


def test_an_export_that_fails_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    imports = [onnx.helper.make_opsetid("", 20)]
    graph = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [value], [result]), opset_imports=imports, ir_version=10
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "denoiser.onnx").write_bytes(b"old")
    network = SimpleNamespace(config=EMBEDDED)
    for name, error, told in (("small", 1.0, "is 1.0e.00 from torch"), ("../x", 0.0, r"name is '\.\./x'")):
        monkeypatch.setattr(export, "parity", lambda *_, error=error: export.Parity(error, error, error))
        with pytest.raises(ModelError, match=told):
            write_folder(graph, network, FRAMES, tmp_path / "model", name, Defaults(), "fp32")
        assert (tmp_path / "model" / "denoiser.onnx").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
    write_folder(graph, network, FRAMES, tmp_path / "model", "small", Defaults(), "fp32")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["denoiser.onnx", "manifest.json"]


@pytest.mark.parametrize(
    ("figures", "told"), [((1.0, 0.0, 0.0), r"is 1.0e\+00 from torch"), ((0.0, 0.0, 2.0), r"is 2.0e\+00 between")]
)
def test_the_difference_that_is_too_large_is_named(figures, told, monkeypatch):
    monkeypatch.setattr(export, "parity", lambda *_: export.Parity(*figures))
    with pytest.raises(ModelError, match=told):
        export.checked_parity(None, FRAMES, Path("denoiser.onnx"), "fp32")


def test_a_checkpoint_is_read_once(tmp_path, monkeypatch):
    config = replace(EMBEDDED, width=64, depth=1, heads=1, ffn=64)
    averaged = VideoPoseTransformer(config).state_dict()
    torch.save(
        {"network": config.as_dict(), "averaged": averaged, "frames": FRAMES, "room": 1.3}, tmp_path / "checkpoint.pt"
    )
    reads = []
    monkeypatch.setattr(export, "read_state", lambda path: reads.append(path) or read_state(path))
    monkeypatch.setattr(export, "to_onnx", lambda network, frames: (network, frames))
    monkeypatch.setattr(export, "write_folder", lambda *args, room, **_: (*args[:3], args[5], room))
    made = export.write_model(tmp_path / "checkpoint.pt", tmp_path, "small", {"steps": 3})
    graph, network, frames, defaults, room = made
    assert graph == (network, FRAMES)
    assert (frames, room) == (FRAMES, 1.3)
    assert reads == [tmp_path / "checkpoint.pt"]
    assert defaults == replace(export.PLANNED, steps=3)  # what suits a network that is given a plan


def test_licence_and_notice_stay_with_a_model_unless_another_is_given(traced, tmp_path, monkeypatch):
    checkpoint, _, graph = traced
    monkeypatch.setattr(export, "to_onnx", lambda network, frames: graph)
    monkeypatch.setattr(export, "checked_parity", lambda *_: None)
    monkeypatch.setattr(export, "obstacles", lambda *_: [])
    state = {**torch.load(checkpoint, weights_only=True), "licence": "MIT", "notice": "by somebody"}
    torch.save(state, tmp_path / "checkpoint.pt")
    for given, licence in (({}, "MIT"), ({"licence": "CC0-1.0"}, "CC0-1.0")):
        folder = tmp_path / licence
        export.write_model(tmp_path / "checkpoint.pt", folder, "small", given)
        assert json.loads((folder / "manifest.json").read_text())["licence"] == licence
        assert (folder / "NOTICE.md").read_text() == "by somebody"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"glTF\x02\0\0\0", "is no whole checkpoint"),
        (b"", "is no whole checkpoint"),
        ({"network": {}, "averaged": {}}, "lacks frames, room"),
        ([1], "lacks averaged, frames"),
        ({"network": {"rgb": 3}, "averaged": {}, "frames": 9, "room": 1.0}, "of another version"),
        ({"network": EMBEDDED.as_dict(), "averaged": {}, "frames": 9, "room": 1.0}, "not of the network"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content, told, tmp_path, capsys):
    path = tmp_path / "checkpoint.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    assert cli.main(["export", str(path), str(tmp_path / "model")]) == 1
    assert told in capsys.readouterr().err


def test_a_name_that_cannot_be_one_is_refused(traced, tmp_path):
    _, network, graph = traced
    with pytest.raises(ModelError, match=r"name is '\.\./x'"):
        write_folder(graph, network, FRAMES, tmp_path / "model", "../x", Defaults(), "fp32")


def test_runtimes_of_this_cpu_are_compared_and_agree(traced, monkeypatch):
    checkpoint, _, graph = traced
    monkeypatch.setattr(runtimes, "to_onnx", lambda network, frames: graph)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in runtimes.compare(checkpoint, 1, threads=2)[2:]]
    table = {name: (float(ratio), float(off)) for name, _, ratio, off in rows}
    assert table[runtimes.REFERENCE] == (1.0, 0.0)
    assert len(table) >= 8
    assert all(off < (0.1 if "int8" in name else 1e-2) for name, (_, off) in table.items())


def test_all_precisions_are_compared_in_one_table(traced, monkeypatch):
    checkpoint, _, graph = traced
    monkeypatch.setattr(export, "to_onnx", lambda network, frames: graph)
    rows = export.compare(checkpoint)
    assert [row.split()[0] for row in rows[1:]] == ["fp32", "fp16", "bf16", "int8"]
    assert all(row.endswith("yes") for row in rows[1:4])
    assert "TensorRT has no such operator" in rows[4]


def test_the_shipped_model_can_be_trained_on_with_its_repertoire():
    state = read_state("embedded")
    repertoire, shipped = repertoire_in(state), load_model("embedded", provider="cpu", threads=1).repertoire
    assert network_of(state, "embedded").config.plan
    assert "CC-BY-3.0" in state["licence"]
    assert "Skandarella" in state["notice"]
    assert repertoire.is_whole()
    for field in fields(repertoire):
        np.testing.assert_array_equal(getattr(repertoire, field.name), getattr(shipped, field.name))
