"""A large model's folder, from Wan's own classes to a served clip: the same numbers as torch, refused where altered."""

import asyncio
import contextlib
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from animax.assets import load_rig  # noqa: E402
from animax.cli import main as animax  # noqa: E402
from animax.client import AsyncClient  # noqa: E402
from animax.diffusion.engine import INPUTS  # noqa: E402
from animax.diffusion.manifest import read_manifest  # noqa: E402
from animax.diffusion.model import load_model  # noqa: E402
from animax.diffusion.registry import folder_stamp  # noqa: E402
from animax.diffusion.sampler import sample  # noqa: E402
from animax.diffusion.tensorrt_cache import Device  # noqa: E402
from animax.errors import ModelError  # noqa: E402
from animax.pipeline import animate, make_condition, make_schedule, make_template  # noqa: E402
from animax.procedural import generate  # noqa: E402
from animax.request import Request  # noqa: E402
from animax.service import Server, ServerConfig  # noqa: E402
from animax.service.models import ServedModels  # noqa: E402
from animax.service.server import model_source  # noqa: E402
from animax_engine import build_trt, cli  # noqa: E402
from animax_engine.export import Wrapped, example_inputs, read_state  # noqa: E402
from animax_engine.network import WAN_1_3B, Stream, VideoPoseTransformer  # noqa: E402
from animax_engine.triton import write_repository  # noqa: E402
from animax_engine.wan import export as module  # noqa: E402
from animax_engine.wan.cache import load_coders, load_parts  # noqa: E402
from animax_engine.wan.export import check_network, parts_of, write_part  # noqa: E402
from animax_engine.wan.train import write_network  # noqa: E402

FRAMES, SIZE, TOKENS = 5, 32, 8
LATENTS = Stream(16, SIZE // 8, (1, 2, 2))
SMALL = replace(WAN_1_3B, rgb=LATENTS, pose=LATENTS, width=48, depth=1, heads=2, ffn=64, text_width=16)
GRAPHS = ["denoiser.onnx", "vae_encoder.onnx", "vae_decoder.onnx", "text_encoder.onnx"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = VideoPoseTransformer(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def written(network, wan_folder, tmp_path_factory):
    """The command's folder, and what it said."""
    folder = tmp_path_factory.mktemp("export")
    write_network(network, folder / "two")
    said = io.StringIO()
    options = [
        "--name",
        "tiny",
        "--frames",
        str(FRAMES),
        "--tokens",
        str(TOKENS),
        "--precision",
        "fp32",
        "--steps",
        "2",
    ]
    with contextlib.redirect_stdout(said):
        assert cli.main(["wan", "export", str(folder / "two"), str(wan_folder), str(folder / "tiny"), *options]) == 0
    return folder / "tiny", said.getvalue().splitlines()


@pytest.fixture(scope="module")
def model(written):
    return load_model(written[0], provider="cpu", threads=1)


@pytest.fixture(scope="module")
def rig():
    return load_rig(generate("fish", motions=False))


def test_graphs_compute_what_the_modules_do_and_tensorrt_can_take_them(written):
    _, said = written  # refused beyond 1e-3 from torch, in batches of one and three
    assert sorted(line.split(":")[0] for line in said) == sorted(GRAPHS)
    assert all(float(line.split(", ")[1].split()[0]) < 1e-4 for line in said)
    assert all(line.endswith("TensorRT can take it") for line in said)


def test_the_manifest_lists_every_file(written, capsys, monkeypatch):
    folder, _ = written
    manifest = read_manifest(folder)
    assert (
        set(manifest.files)
        == {*GRAPHS, "tokenizer.json"}
        == {path.name for path in folder.iterdir()} - {"manifest.json"}
    )
    assert list(manifest.graphs) == GRAPHS
    assert len({manifest.digest(graph) for graph in GRAPHS}) == 4
    monkeypatch.setenv("ANIMAX_MODELS", str(folder.parent))
    assert animax(["models", "verify", "tiny"]) == 0
    assert animax(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "tiny: ok, 5 files" in out
    assert "rgb" in out


def test_velocity_becomes_the_clean_latents(network):
    values = [torch.from_numpy(example_inputs(SMALL, 2, 1, tokens=TOKENS)[name]) for name in INPUTS]
    z, sigma = values[1], values[4]
    _, clean = Wrapped(network)(*values)
    _, velocity = network(*values)
    torch.testing.assert_close(clean, z - sigma[:, None, :, None, None, None] * velocity)


def test_prompts_are_encoded_as_in_training(model, wan_folder):
    text = load_coders(wan_folder).text
    for prompt in ("walk", "idle walk walk", "walk " * 20):
        states = text(prompt).numpy()[:TOKENS]
        made = model.text.encode([prompt])[0]
        assert made.shape == model.text.null.shape == (TOKENS, 16)
        if len(prompt) < 20:  # a longer one is cut off before it is encoded
            np.testing.assert_allclose(made[: len(states)], states, atol=1e-5)
            assert not made[len(states) :].any()


def test_pictures_are_coded_as_by_diffusers(model, wan_folder):
    """The template as the cache encodes it, and a window's latents as diffusers decodes them."""
    random = np.random.default_rng(0)
    maps = random.random((4, 1, 3, SIZE, SIZE), np.float32)
    made = model.space.encode(None, maps).pose
    wanted = load_coders(wan_folder).video(torch.from_numpy(maps).transpose(1, 2) * 2 - 1).transpose(1, 2)
    np.testing.assert_allclose(made, wanted.numpy(), atol=1e-4)


def by_torch(network):
    def call(*arrays):
        with torch.inference_mode():
            return tuple(tensor.numpy() for tensor in Wrapped(network)(*(torch.from_numpy(a.copy()) for a in arrays)))

    return call


def test_a_clip_s_latents_are_those_of_torch_and_shared_steps_change_nothing(model, network, rig):
    """Two scales: every step is three samples. Two requests at a time, through the step batcher."""
    condition = make_condition(rig, make_template(rig, model), model.text.encode(["walk"])[0], model)
    schedule = make_schedule(model, 4.0, 2)
    assert (schedule.guidance_image, schedule.frames, schedule.packed) == (3.0, FRAMES, True)

    def run(seed, denoiser=model.denoiser):
        (take,) = sample(denoiser, condition, FRAMES, seed, schedule, history=model.space.latest)
        return take.latents

    alone = [run(seed) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as threads:
        shared = list(threads.map(run, (0, 1)))
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one.pose, other.pose)
    assert model.denoiser.max_batch == 1
    truth = run(0, by_torch(network))
    for stream in ("rgb", "pose"):
        wanted = getattr(truth, stream)
        assert np.abs(getattr(alone[0], stream) - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_a_clip_of_two_windows_comes_out(model, rig, tmp_path):
    model.warm_up()
    seconds = 2 * (FRAMES - 1) / model.fps
    made = animate(rig, Request("walk", seconds=seconds, fps=16, steps=1), model, debug=tmp_path)
    assert len(made.clip) == 2 * FRAMES - 1
    assert np.isfinite(rig.skeleton.positions(made.clip.pose)).all()
    assert (tmp_path / "rgb.mp4").is_file()


async def test_it_is_served(written):
    config = ServerConfig(port=0, models=(str(written[0]),), provider="cpu", grace_seconds=0.0)
    server = Server(config, ServedModels.load([model_source(config.models[0], config)]), animate)
    await server.start()
    try:
        while server.readiness.state.value != "ready":
            await asyncio.sleep(0.05)
        async with AsyncClient(f"127.0.0.1:{server.port}") as client:
            rig_id = (await client.upload(generate("fish", motions=False))).rig_id
            result = await client.animate(rig_id, Request("walk", seconds=0.25, fps=16, steps=1)).collect()
            assert [one.name for one in (await client.capabilities()).models] == ["tiny"]
    finally:
        await server.stop()
    assert len(result.clip) == 4 + 1


@pytest.mark.parametrize("name", [*GRAPHS, "tokenizer.json"])
def test_what_is_altered_or_missing_is_named(written, tmp_path, name):
    folder = shutil.copytree(written[0], tmp_path / "model")
    stamp = folder_stamp(folder)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert folder_stamp(folder) != stamp  # a server that watches looks again
    with pytest.raises(ModelError, match=f"{name} has SHA-256"):
        load_model(folder, provider="cpu")
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"lacks its file '{name}'"):
        load_model(folder, provider="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 9}, "vae_decoder.onnx is for 5 frames, 4 a slot; accepted: 9 and 4"),
        ({"video": None}, "video is None; accepted: an object with the codec rgb"),
        ({"video": {"encoder": "vae_encoder.onnx"}}, "video: decoder is None; accepted: a value of type str"),
        ({"prompt": {"encoder": "x.onnx", "tokenizer": "tokenizer.json"}}, "an entry for 'x.onnx'"),
        ({"prompt": {"encoder": "text_encoder.onnx", "tokenizer": "denoiser.onnx"}}, "for 'denoiser.onnx' alone"),
        ({"prompt": "umt5"}, "prompt is 'umt5'; accepted: an object"),
        ({"rgb_size": 48}, "accepted with the codec rgb: 3 and equal sizes"),
        ({"pose_size": 48, "rgb_size": 48}, "accepted: colours, frames, 48 and 48 pixels"),
    ],
)
def test_a_manifest_that_says_otherwise_is_named(written, tmp_path, changes, message):
    folder = shutil.copytree(written[0], tmp_path / "model")
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**values, **changes}))
    with pytest.raises(ModelError) as told:
        load_model(folder, provider="cpu", threads=1)
    assert message in str(told.value)


def test_the_small_model_s_training_does_not_take_it(written):
    with pytest.raises(ModelError, match="has the codec rgb; accepted: splat"):
        read_state(written[0])


def test_triton_and_tensorrt_get_every_graph(written, tmp_path, monkeypatch):
    folder, _ = written
    write_repository(folder, tmp_path / "triton")
    parts = ("denoiser", "text", "vae_decoder", "vae_encoder")
    assert sorted(path.parent.name for path in (tmp_path / "triton").glob("*/config.pbtxt")) == [
        f"tiny_{p}" for p in parts
    ]
    assert "max_batch_size: 1\n" in (tmp_path / "triton" / "tiny_denoiser" / "config.pbtxt").read_text()
    copied = tmp_path / "triton" / "tiny_text" / "tokenizer.json"
    assert copied.read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert "TYPE_INT32 dims: [-1, 8]" in (tmp_path / "triton" / "tiny_text" / "config.pbtxt").read_text()

    built = []
    monkeypatch.setattr(build_trt, "this_device", lambda: Device("A GPU", "9.0", "580.1", "10.9.0", "1.31.1"))
    monkeypatch.setattr(
        build_trt, "build_engines", lambda path, key, cache, anew: built.append((path.name, key)) or True
    )
    assert build_trt.main([str(folder), "--cache", str(tmp_path)]) == 0
    assert [name for name, _ in built] == GRAPHS
    assert len({key.model for _, key in built}) == 4
    assert all(key.batch == (1, 1, 1) for _, key in built)


def test_a_graph_that_computes_something_else_is_refused(written, wan_folder, tmp_path, monkeypatch):
    vae, encoder, _ = load_parts(wan_folder)
    text = parts_of(vae, encoder, FRAMES, SIZE, TOKENS)[-1]
    monkeypatch.setattr(module, "to_onnx", lambda _: onnx.load(written[0] / "text_encoder.onnx"))
    write_part(text, tmp_path, "bf16", say=lambda _: None)
    with torch.no_grad():
        next(text.module.parameters()).mul_(1.5)
    with pytest.raises(ModelError, match=r"from torch; accepted: 0\.001 at most"):
        write_part(text, tmp_path, "bf16", say=lambda _: None)


@pytest.mark.parametrize(("frames", "size", "named"), [(6, 16, "frames"), (1, 16, "frames"), (5, 24, "size")])
def test_sizes_that_the_vae_cannot_take_are_refused(wan_folder, frames, size, named):
    with pytest.raises(ModelError, match=named):
        parts_of(*load_parts(wan_folder)[:2], frames, size)


def test_networks_that_do_not_fit_are_refused(wan_folder, tmp_path, capsys):
    vae, encoder, _ = load_parts(wan_folder)
    check_network(SMALL, vae, encoder)
    with pytest.raises(ModelError, match=r"16, 4096\) channels; accepted by VAE and text: \(16, 16\)"):
        check_network(replace(SMALL, text_width=4096), vae, encoder)
    with pytest.raises(ModelError, match="accepted: one of `wan train`"):
        check_network(replace(SMALL, multi_view=False), vae, encoder)
    assert cli.main(["wan", "export", str(tmp_path), str(wan_folder), str(tmp_path / "out")]) == 1
    assert "has no network.safetensors" in capsys.readouterr().err
