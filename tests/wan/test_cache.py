"""Shards of encoded samples, by a tiny VAE and text encoder of the real classes, with random weights."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

from accelerate import Accelerator  # noqa: E402

from animax.errors import ModelError, OptionError  # noqa: E402
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
    before = shards[0].read_bytes()
    shards[0].unlink()
    lines = list(write_cache([data], out, CONFIG, lambda: load_coders(wan_folder)))
    assert sum("kept" in line for line in lines) == len(shards) - 1
    assert shards[0].read_bytes() == before
    with pytest.raises(ModelError, match=r"other settings, rigs or model; accepted: frames 5"):
        list(write_cache([data], out, replace(CONFIG, frames=9), lambda: load_coders(wan_folder)))
    with pytest.raises(ModelError, match="accepted: model_sha256"):
        list(write_cache([data], out, CONFIG, lambda: load_coders(wan_folder), model="other"))


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 6}, {"frames": -3}, {"size": 40}, {"size": 0}, {"windows": 0}, {"shard": 0}, {"tokens": 0},
        {"radius": 0.0}, {"room": 0.5}, {"elevation": 90.0},
    ],
)  # fmt: skip
def test_sizes_are_checked(wrong):
    with pytest.raises(OptionError, match="accepted"):
        CacheConfig(**wrong)


class Constant:
    """Encoders that take no time."""

    video = staticmethod(lambda pictures: torch.zeros(1, 16, 1 + (pictures.shape[2] - 1) // 4, 4, 4))
    text = staticmethod(lambda prompt: torch.ones(9, 16))


def test_names_of_rigs_may_have_dots_and_folders(data, tmp_path):
    """WebDataset takes what follows a dot for a file's kind, and all of one key for one sample."""
    for name in ("hero.v2.glb", "one/hero.glb", "two/hero.glb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((data / "snake.glb").read_bytes())
    found = windows([tmp_path], CONFIG)
    assert len({window.key for window in found}) == len(found) == 3 * len({window.clip for window in found})
    module.write_shard(0, [window for window in found if window.number == 0][:2], tmp_path, CONFIG, Constant)
    (tmp_path / "cache.json").write_text('{"size": 32, "tokens": 7}')
    assert len(next(batches(tmp_path, Recipe(), 2)).rgb) == 2


def test_rigs_of_one_name_are_refused(data, tmp_path):
    (tmp_path / "snake.glb").write_bytes((data / "snake.glb").read_bytes())
    with pytest.raises(OptionError, match="'snake'"):
        windows([data, tmp_path], CONFIG)


def test_a_damaged_rig_is_left_out_and_no_rig_is_an_error(tmp_path):
    (tmp_path / "torn.glb").write_bytes(b"glTF")
    lines = write_cache([tmp_path], tmp_path / "out", CONFIG, Constant)
    assert next(lines).startswith("torn left out")
    with pytest.raises(ModelError, match="no rig to train on"):
        next(lines)
    assert not (tmp_path / "out").exists()


def test_a_prompt_is_cut_and_a_shard_that_broke_off_leaves_nothing(data, tmp_path, monkeypatch):
    window = windows([data], CONFIG)[0]
    assert module.encode(window, CONFIG, Constant)["text"].shape == (7, 16)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.write_shard(0, [window], tmp_path, CONFIG, Constant)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_read_leaves_no_settings_behind(data, tmp_path):
    with pytest.raises(ModelError, match="lacks a part"):
        list(write_cache([data], tmp_path, CONFIG, lambda: load_coders(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_another_model_is_another_identity(wan_folder, tmp_path):
    for name in ("vae", "text_encoder", "tokenizer"):
        shutil.copytree(wan_folder / name, tmp_path / name)
    assert module.identity(tmp_path) == module.identity(wan_folder)
    with (tmp_path / "vae" / "config.json").open("a") as file:
        file.write(" ")
    assert module.identity(tmp_path) != module.identity(wan_folder)


@pytest.mark.parametrize("facts", ["[]", "{}", '{"size": "480", "tokens": 512}', "{"])
def test_settings_that_are_damaged_are_told(tmp_path, facts):
    (tmp_path / "cache.json").write_text(facts)
    with pytest.raises(ModelError, match="accepted"):
        read_facts(tmp_path)


def test_a_device_that_is_not_there_is_refused(wan_folder):
    with pytest.raises(OptionError, match="device is 'warp'"):
        load_coders(wan_folder, "warp")


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
    sizes = {"dim": 48, "num_heads": 2, "num_layers": 1, "ffn_dim": 64, "text_dim": 16, "in_dim": 16}
    (tmp_path / "config.json").write_text(json.dumps(sizes))  # which tells its size
    assert cli.main(["wan", "report", "--weights", str(tmp_path)]) == 0
    assert "none left over" in capsys.readouterr().out
    assert cli.main(["wan", "report", "--frames", "80"]) == 2
    assert "frames is 80; accepted: 1 + a multiple of 4" in capsys.readouterr().err
    assert cli.main(["wan"]) == 2
