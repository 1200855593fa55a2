"""Wan weights in and out, against diffusers' own model, which nobody here wrote."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from safetensors.torch import load_file, save_file  # noqa: E402

from animax.errors import ModelError  # noqa: E402
from animax_engine.network import WAN_1_3B, Stream, VideoPoseTransformer  # noqa: E402
from animax_engine.wan.key_map import key_map  # noqa: E402
from animax_engine.wan.weights import (  # noqa: E402
    WeightsError,
    coverage,
    load_weights,
    network_config,
    save_weights,
    wan_weights,
)

LATENTS = Stream(16, 8, (1, 2, 2))
SMALL = replace(WAN_1_3B, rgb=LATENTS, pose=LATENTS, width=96, depth=3, heads=2, ffn=160, text_width=40)


def theirs(seed=0):
    """diffusers' model in the reduced size, with nothing at its initial value."""
    torch.manual_seed(seed)
    model = diffusers.WanTransformer3DModel(
        num_attention_heads=SMALL.heads,
        attention_head_dim=SMALL.width // SMALL.heads,
        text_dim=SMALL.text_width,
        ffn_dim=SMALL.ffn,
        num_layers=SMALL.depth,
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(scope="module")
def wan():
    return theirs()


@pytest.fixture(scope="module")
def folder(wan, tmp_path_factory):
    """As diffusers itself writes it, in several shards."""
    path = tmp_path_factory.mktemp("wan")
    wan.save_pretrained(path / "transformer", max_shard_size="300KB")
    assert len(list((path / "transformer").glob("*.safetensors"))) > 2
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    network = VideoPoseTransformer(network_config(folder, SMALL)).eval()
    load_weights(network, folder)
    return network


def video(batch=2, slots=4, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, LATENTS.channels, slots, LATENTS.size, LATENTS.size)
    return torch.randn(shape, generator=generator), torch.randn((batch, 7, SMALL.text_width), generator=generator)


def run(network, latents, text, sigma, rays=None):
    """Our network on one stream of one view: its first slot is the condition."""
    frames = latents.transpose(1, 2)[:, None]
    with torch.no_grad():
        rgb, out = network(None, frames[:, :, 1:], None, frames[:, :, 0], sigma, text, rays)
    assert rgb is None
    return out[:, 0].transpose(1, 2)


def test_output_equals_that_of_diffusers(wan, loaded):
    """One view, RGB tokens only: each slot at its own noise level, the condition clean."""
    latents, text = video()
    sigma = torch.tensor([[0.3, 0.9, 0.05], [1.0, 1.0, 1.0]])
    times = torch.cat([torch.zeros(2, 1), sigma], dim=1).repeat_interleave(LATENTS.grid**2, dim=1) * 1000
    with torch.no_grad():
        expected = wan(latents, times, text).sample[:, :, 1:]
    made = run(loaded, latents, text, sigma)
    assert expected.abs().mean() > 0.05
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


def test_output_equals_that_of_diffusers_at_one_noise_level(wan, folder):
    """The way Wan itself is called: one time for the whole video."""
    network = VideoPoseTransformer(replace(network_config(folder, SMALL), condition_time="shared")).eval()
    load_weights(network, folder)
    latents, text = video()
    with torch.no_grad():
        expected = wan(latents, torch.tensor([700.0, 150.0]), text).sample[:, :, 1:]
    made = run(network, latents, text, torch.tensor([[0.7] * 3, [0.15] * 3]))
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


def test_additions_leave_the_base_model_as_it_was(folder):
    """Fresh cross-view attention, rays and modality embedding change nothing: four views are four single views."""
    torch.manual_seed(1)
    full = VideoPoseTransformer(network_config(folder, replace(SMALL, view_embedding=4))).eval()
    found = load_weights(full, folder)
    assert any("view_attn" in name for name in found.added)
    assert any("ray_embedding" in name for name in found.added)
    plain = VideoPoseTransformer(replace(full.config, multi_view=False, modality_embedding=False)).eval()
    load_weights(plain, folder)
    shape = (1, 4, 3, 16, 8, 8)
    rgb, pose, c_rgb, c_pose = (
        torch.randn(shape),
        torch.randn(shape),
        torch.randn(1, 4, 16, 8, 8),
        torch.randn(1, 4, 16, 8, 8),
    )
    sigma, text, rays = torch.full((1, 3), 0.6), torch.randn(1, 7, SMALL.text_width), torch.randn(1, 4, 6, 8, 8)
    with torch.no_grad():
        together = full(rgb, pose, c_rgb, c_pose, sigma, text, rays)
        for view in range(4):
            one = slice(view, view + 1)
            alone = plain(rgb[:, one], pose[:, one], c_rgb[:, one], c_pose[:, one], sigma, text)
            for a, b in zip(together, alone, strict=True):
                torch.testing.assert_close(a[:, one], b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("naming", ["diffusers", "original"])
def test_weights_survive_both_namings(loaded, tmp_path, naming):
    save_weights(loaded, tmp_path / "model.safetensors", naming)
    again = VideoPoseTransformer(SMALL)
    found = load_weights(again, tmp_path)
    assert found.naming == naming
    for weight in key_map(SMALL):
        assert torch.equal(again.state_dict()[weight.ours], loaded.state_dict()[weight.ours])


def test_written_weights_are_what_diffusers_reads(wan, loaded, tmp_path):
    save_weights(loaded, tmp_path / "model.safetensors")
    written = load_file(tmp_path / "model.safetensors")
    assert written.keys() == wan.state_dict().keys()
    for name, tensor in wan.state_dict().items():
        assert torch.equal(written[name], tensor), name


def test_original_names_are_those_that_diffusers_converts(loaded):
    """diffusers' converter of the original release gets every name of ours, and gives just its own."""
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    converted = convert_wan_transformer_to_diffusers(wan_weights(loaded, "original"))
    ours = wan_weights(loaded, "diffusers")
    assert converted.keys() == ours.keys()
    for name, tensor in ours.items():
        assert torch.equal(converted[name], tensor), name


def test_full_size_is_covered_whole():
    with torch.device("meta"):
        network = VideoPoseTransformer(WAN_1_3B)
        model = diffusers.WanTransformer3DModel(
            num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=30
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = coverage(shapes, network, "Wan2.1-T2V-1.3B")
    assert len(found.loaded) == len(shapes) == 825
    assert found.parameters == sum(p.numel() for p in model.parameters()) == 1_418_996_800


def changed(wan, **changes):
    tensors = {**wan.state_dict(), **changes}
    return {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"blocks.1.attn1.to_q.weight": None}, "missing blocks.1.attn1.to_q.weight"),
        ({"blocks.3.attn1.to_q.weight": torch.zeros(2)}, "unexpected blocks.3.attn1.to_q.weight"),
        (
            {"patch_embedding.weight": torch.zeros(96, 36, 1, 2, 2)},
            r"patch_embedding.weight is \(96, 36, 1, 2, 2\); accepted: \(96, 16, 1, 2, 2\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(wan, tmp_path, changes, told):
    save_file(changed(wan, **changes), tmp_path / "a.safetensors")
    network = VideoPoseTransformer(SMALL)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=told):
        load_weights(network, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_other_models_are_refused(tmp_path):
    save_file({"encoder.weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"unexpected encoder\.weight"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path)


def test_pickled_weights_are_refused_by_name(tmp_path):
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"pickled diffusion_pytorch_model.bin.*accepted: safetensors only"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path)


def test_a_file_that_is_pickled_is_refused_whatever_lies_beside(wan, tmp_path):
    save_file(changed(wan), tmp_path / "a.safetensors")
    (tmp_path / "model.pth").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"'model.pth' are no .safetensors file"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path / "model.pth")
    with pytest.raises(ModelError, match="'nowhere' are not there"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path / "nowhere")


def test_two_versions_in_one_folder_are_not_mixed(wan, tmp_path):
    for name in ("model", "model.fp16"):
        save_file(changed(wan), tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelError, match=r"model.safetensors is not the only file of .*accepted: every weight once"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path)
    load_weights(VideoPoseTransformer(SMALL), tmp_path / "model.safetensors")
    for name in ("model", "model.fp16"):
        (tmp_path / f"{name}.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ModelError, match=r"indices .*accepted: one"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path)


def test_weights_in_whole_numbers_are_refused(wan, tmp_path):
    quantised = wan.state_dict()["proj_out.weight"].to(torch.int8)
    save_file(changed(wan, **{"proj_out.weight": quantised}), tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"proj_out.weight is stored as I8; accepted: F64, F32, F16, BF16"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path)


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ([], "accepted: an object"),
        ({"text_dim": None}, "text_dim is None"),
        ({"num_layers": "30"}, "num_layers is '30'"),
        ({"dim": 100}, "100 wide with 12 heads"),
        ({"in_channels": 16, "out_channels": 32}, "out_channels is 32; accepted: 16"),
        ({"qk_norm": "rms_norm"}, "qk_norm is 'rms_norm'; accepted: 'rms_norm_across_heads'"),
        ({"patch_size": [1, 1, 1]}, r"patch_size is \[1, 1, 1\]"),
    ],
)
def test_a_config_that_cannot_be_used_is_told(tmp_path, stated, told):
    (tmp_path / "config.json").write_text(json.dumps(stated))
    with pytest.raises(ModelError, match=told):
        network_config(tmp_path, WAN_1_3B)


def test_a_torn_file_is_told(folder, tmp_path):
    shard = next((folder / "transformer").glob("*.safetensors"))
    (tmp_path / "torn.safetensors").write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"torn.safetensors is no whole safetensors file"):
        load_weights(VideoPoseTransformer(SMALL), tmp_path)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ({"weight_map": {"a": "lost.safetensors"}}, "missing lost.safetensors"),
        ({"weight_map": {"a": "../b.safetensors"}}, "outside of its folder"),
        ({"metadata": {}}, "is no index"),
    ],
)
def test_a_bad_index_is_told(tmp_path, index, told):
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=told):
        load_weights(VideoPoseTransformer(SMALL), tmp_path)


def test_sizes_come_from_either_config(folder, tmp_path):
    assert network_config(folder, WAN_1_3B) == replace(SMALL, rgb=WAN_1_3B.rgb, pose=WAN_1_3B.pose)
    original = {"dim": 96, "num_heads": 2, "num_layers": 3, "ffn_dim": 160, "in_dim": 16, "model_type": "t2v"}
    (tmp_path / "config.json").write_text(json.dumps(original))
    assert network_config(tmp_path, WAN_1_3B) == replace(WAN_1_3B, width=96, heads=2, depth=3, ffn=160)
    (tmp_path / "config.json").write_text(json.dumps({**original, "model_type": "i2v"}))
    with pytest.raises(ModelError, match="model_type is 'i2v'; accepted: 't2v'"):
        network_config(tmp_path, WAN_1_3B)
