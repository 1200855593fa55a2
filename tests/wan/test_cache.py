"""Shards of encoded samples, by a tiny VAE and text encoder of the real classes, with random weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

from accelerate import Accelerator  # noqa: E402

from animax.errors import ModelError  # noqa: E402
from animax_engine import cli  # noqa: E402
from animax_engine.network import WAN_1_3B, Stream, VideoPoseTransformer  # noqa: E402
from animax_engine.wan import cache as module  # noqa: E402
from animax_engine.wan.cache import CacheConfig, load_coders, read_facts, windows, write_cache  # noqa: E402
from animax_engine.wan.recipe import Recipe  # noqa: E402
from animax_engine.wan.report import report, tokens_of  # noqa: E402
from animax_engine.wan.train import batches, train  # noqa: E402
from animax_engine.wan.weights import save_weights  # noqa: E402

CONFIG = CacheConfig(size=32, frames=5, windows=1, shard=3, tokens=7)
LATENTS = Stream(16, 4, (1, 2, 2))
SMALL = replace(WAN_1_3B, rgb=LATENTS, pose=LATENTS, width=48, depth=1, heads=2, ffn=64, text_width=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("data")
    for name in ("snake", "fish"):
        source = request.config.rootpath / "examples" / f"{name}.glb"
        (folder / f"{name}.glb").write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="module")
def written(wan_folder, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("cache")
    lines = list(write_cache([data], out, CONFIG, lambda: load_coders(wan_folder)))
    return out, lines


def test_every_clip_is_in_a_shard(written, data):
    out, lines = written
    found = windows([data], CONFIG)
    assert len({window.key for window in found}) == len(found) >= 6
    assert len(lines) == len(list(out.glob("*.tar"))) == -(-len(found) // CONFIG.shard)
    assert not list(out.glob("*.tmp"))
    assert read_facts(out)["samples"] == len(found)


def test_samples_have_the_network_s_shapes_and_a_padded_prompt(written):
    batch = next(batches(written[0], Recipe(), 2))
    assert batch.rgb.shape == batch.pose.shape == (2, 4, 3, 16, 4, 4)  # the template, then 5 frames as 2 latents
    assert batch.rays.shape == (2, 4, 6, 4, 4)
    assert batch.text.shape == (2, 7, 16)
    assert batch.text[:, :1].abs().sum() > 0
    assert batch.text[:, -1].abs().sum() == 0
    assert torch.isfinite(batch.rgb).all()
    assert not torch.equal(batch.rgb, batch.pose)


def test_latents_are_the_vae_s_own(wan_folder):
    vae = diffusers.AutoencoderKLWan.from_pretrained(wan_folder / "vae").eval()
    pictures = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    with torch.inference_mode():
        z = vae.encode(pictures).latent_dist.mode()
        back = load_coders(wan_folder).video(pictures) * torch.tensor(vae.config.latents_std).reshape(1, -1, 1, 1, 1)
    torch.testing.assert_close(back + torch.tensor(vae.config.latents_mean).reshape(1, -1, 1, 1, 1), z)


def test_a_broken_cache_goes_on_and_gives_the_same(written, wan_folder, data, tmp_path):
    out, _ = written
    shards = sorted(out.glob("*.tar"))
    before = {path.name: next(batches(out, Recipe(), 1)).rgb for path in shards[:1]}
    shards[0].unlink()
    lines = list(write_cache([data], out, CONFIG, lambda: load_coders(wan_folder)))
    assert sum("kept" in line for line in lines) == len(shards) - 1
    assert torch.equal(next(batches(out, Recipe(), 1)).rgb, before[shards[0].name])
    with pytest.raises(ModelError, match="other settings"):
        list(write_cache([data], out, replace(CONFIG, frames=9), lambda: load_coders(wan_folder)))


def test_a_clip_that_cannot_be_read_is_named_and_left_out(wan_folder, data, tmp_path, monkeypatch):
    found = windows([data], CONFIG)
    monkeypatch.setattr(module, "windows", lambda *_: [found[0], replace(found[1], clip="nothing")])
    (line,) = write_cache([data], tmp_path, CONFIG, lambda: load_coders(wan_folder))
    assert "1 samples" in line
    assert "has no clip 'nothing'" in line


def test_training_reads_what_the_cache_wrote(written, tmp_path):
    losses = train(
        VideoPoseTransformer(SMALL), written[0], tmp_path, Recipe(stage=2), steps=2, batch=2,
        accelerator=Accelerator(cpu=True, mixed_precision="no"),
    )  # fmt: skip
    assert np.all(np.isfinite(losses))
    assert len(losses) == 2


@pytest.mark.parametrize("part", ["vae", "text_encoder", "tokenizer"])
def test_a_part_that_is_missing_is_named(wan_folder, tmp_path, part):
    for name in {"vae", "text_encoder", "tokenizer"} - {part}:
        (tmp_path / name).symlink_to(wan_folder / name)
    with pytest.raises(ModelError, match="lacks a part of the model") as told:
        load_coders(tmp_path)
    assert str(tmp_path.parent) not in str(told.value)


@pytest.mark.parametrize("wrong", [{"frames": 6}, {"size": 40}])
def test_sizes_are_checked(wrong):
    with pytest.raises(ModelError, match="accepted"):
        CacheConfig(**wrong)


def test_the_report_adds_up(tmp_path, capsys):
    """Tokens as the paper's arithmetic has them; parameters as diffusers' own model of this size."""
    assert tokens_of(WAN_1_3B, 21) == 39_600
    lines = "\n".join(report(WAN_1_3B, 81))
    assert "1419.0 M of Wan" in lines
    assert "825 weights of Wan, 825 of them in the network" in lines
    network = VideoPoseTransformer(SMALL)
    save_weights(network, tmp_path / "model.safetensors")
    assert "none left over" in "\n".join(report(SMALL, 81, tmp_path))
    assert cli.main(["wan", "report", "--weights", str(tmp_path)]) == 1  # of another size
    assert "do not fit" in capsys.readouterr().err
    assert cli.main(["wan"]) == 2
