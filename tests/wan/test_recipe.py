"""The paper's two stages at a reduced size: what moves, that the loss falls, that a broken run goes on as it was."""

import json
import pickle
from dataclasses import replace
from itertools import islice

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import webdataset  # noqa: E402
from accelerate import Accelerator  # noqa: E402

from animax.errors import Cancelled, ModelError, OptionError  # noqa: E402
from animax_engine.network import Stream, VideoPoseTransformer  # noqa: E402
from animax_engine.wan import train as module  # noqa: E402
from animax_engine.wan.recipe import Recipe, merge_adapters, prepare, start_view_attention  # noqa: E402
from animax_engine.wan.train import (  # noqa: E402
    LatentBatch,
    batches,
    check_fit,
    main,
    read_network,
    train,
    velocity_loss,
    write_network,
)
from animax_engine.wan.weights import save_weights  # noqa: E402
from tests.wan.small import RECIPE, SMALL  # noqa: E402


@pytest.fixture
def network():
    torch.manual_seed(0)
    return VideoPoseTransformer(SMALL)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Four samples that are the template, moved by what the text says."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "cache.json").write_text(json.dumps({"size": 32, "tokens": 5}))
    generator = torch.Generator().manual_seed(0)
    with webdataset.TarWriter(str(folder / "shard-00000.tar")) as shard:
        for number in range(4):
            text = torch.randn(3, 12, generator=generator)
            rest = torch.randn(4, 1, 4, 4, 4, generator=generator)
            moved = torch.cat([rest, (rest + text.mean()).expand(-1, 2, -1, -1, -1)], dim=1)
            arrays = {"rgb": moved, "pose": -moved, "text": text, "rays": torch.randn(4, 6, 4, 4, generator=generator)}
            parts = {f"{name}.npy": array.half().numpy() for name, array in arrays.items()}
            shard.write({"__key__": f"{number:06d}", **parts})
    return folder


def cpu():
    return Accelerator(cpu=True, mixed_precision="no")


def batch(views=4):
    generator = torch.Generator().manual_seed(1)
    rgb, pose = (torch.randn(2, views, 3, 4, 4, 4, generator=generator) for _ in range(2))
    return LatentBatch(rgb, pose, torch.randn(2, 3, 12), torch.randn(2, views, 6, 4, 4))


@pytest.mark.parametrize(
    ("stage", "parts"), [(1, ("lora_", "modality_embedding")), (2, ("view_attn", "ray_embedding", "view_embedding"))]
)
def test_a_stage_moves_its_own_parts_alone(network, cache, tmp_path, stage, parts):
    network = VideoPoseTransformer(replace(SMALL, view_embedding=4))
    names = prepare(network, replace(RECIPE, stage=stage))
    assert names
    assert all(any(part in name for part in parts) for name in names)
    if stage == 1:  # within views and to the text, in every block; not across views
        adapted = {name.split(".lora_")[0] for name in names if "lora_" in name}
        assert len(adapted) == SMALL.depth * 10
    fresh = VideoPoseTransformer(replace(SMALL, view_embedding=4))
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    train(fresh, cache, tmp_path, replace(RECIPE, stage=stage), steps=3, batch=2, accelerator=cpu())
    after = read_network(tmp_path, SMALL).state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    whole = {name for name in before if any(part in name for part in parts)}
    merged = {f"{name.removeprefix('base_model.')}.weight" for name in adapted} if stage == 1 else set()
    assert changed
    assert changed <= whole | merged
    assert set(after) == set(before)


@pytest.mark.parametrize("stage", [1, 2])
def test_the_loss_falls(network, cache, tmp_path, stage):
    recipe = replace(RECIPE, stage=stage, rate=1e-2)
    losses = train(network, cache, tmp_path, recipe, steps=60, batch=4, accelerator=cpu())
    assert sum(losses[-10:]) < 0.93 * sum(losses[:10])


def test_a_broken_run_goes_on_as_it_was(cache, tmp_path):
    def run(out, steps):
        torch.manual_seed(0)
        options = {"batch": 2, "accelerator": cpu(), "save_every": 2}
        return train(VideoPoseTransformer(SMALL), cache, out, RECIPE, steps=steps, **options)

    whole = run(tmp_path / "whole", 6)
    first = run(tmp_path / "broken", 4)
    assert first + run(tmp_path / "broken", 6) == pytest.approx(whole, rel=1e-6)
    a, b = (read_network(tmp_path / name, SMALL).state_dict() for name in ("whole", "broken"))
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, msg=name)
    lines = (tmp_path / "broken" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "0", "1", "2", "3", "4", "5"]


def test_merged_is_what_was_trained(network):
    prepare(network, RECIPE)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    given = (batch(), RECIPE)
    before = velocity_loss(network, *given, torch.Generator().manual_seed(2))
    merge_adapters(network)
    after = velocity_loss(network, *given, torch.Generator().manual_seed(2))
    assert not any("lora" in name for name in network.state_dict())
    for name, loss in before.items():
        torch.testing.assert_close(after[name], loss, rtol=1e-5, atol=1e-6)


def test_fresh_attention_across_views_changes_nothing_and_is_of_use(network):
    given = batch()
    recipe = replace(RECIPE, stage=2)
    before = velocity_loss(network, given, recipe, torch.Generator().manual_seed(3))
    start_view_attention(network)
    after = velocity_loss(network, given, recipe, torch.Generator().manual_seed(3))
    assert after == before
    for block in network.blocks:
        assert torch.equal(block.view_attn.q.weight, block.self_attn.q.weight)
        assert not block.view_attn.o.weight.any()


def test_dropped_conditions_are_zero(network):
    seen = []

    def record(rgb, pose, template_rgb, template_pose, sigma, text, rays):
        seen.append((template_rgb, template_pose, text, rays))
        return torch.zeros_like(rgb), torch.zeros_like(pose)

    given = batch()
    for share in (0.0, 1.0):
        recipe = replace(RECIPE, drop_image=share, drop_text=share)
        velocity_loss(record, given, recipe, torch.Generator())
    (*kept, rays), (*dropped, _) = seen
    assert rays is None  # stage 1 knows no cameras
    assert all(tensor.abs().sum() > 0 for tensor in kept)
    assert all(tensor.abs().sum() == 0 for tensor in dropped)


def test_noise_levels_lean_towards_noise():
    levels = [Recipe(shift=shift).sigmas(4000, torch.Generator().manual_seed(0)) for shift in (1.0, 5.0)]
    assert all(level.min() > 0 and level.max() < 1 for level in levels)
    assert levels[0].median() == pytest.approx(0.5, abs=0.03)
    assert levels[1].median() == pytest.approx(5 / 6, abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stage": 3}, {"rank": 0}, {"alpha": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"warmup": -1},
        {"drop_image": 1.5}, {"drop_text": -0.1}, {"shift": 0.0}, {"view_start": "zero"},
    ],
)  # fmt: skip
def test_recipes_are_checked(wrong):
    with pytest.raises(OptionError, match="accepted"):
        Recipe(**wrong)


@pytest.mark.parametrize("pattern", [r"blocks\.\d+\.nothing", "("])
def test_a_pattern_that_names_no_layer_is_refused(network, pattern):
    with pytest.raises(OptionError, match="adapted"):
        prepare(network, Recipe(adapted=pattern))


def test_attention_across_views_that_was_trained_is_left_alone(network):
    with torch.no_grad():
        network.blocks[0].view_attn.o.weight.fill_(0.1)
    before = network.blocks[0].view_attn.q.weight.clone()
    start_view_attention(network)
    assert torch.equal(network.blocks[0].view_attn.q.weight, before)
    assert torch.equal(network.blocks[1].view_attn.q.weight, network.blocks[1].self_attn.q.weight)


def short(cache, out, recipe=RECIPE, steps=2, **options):
    torch.manual_seed(0)
    return train(VideoPoseTransformer(SMALL), cache, out, recipe, steps=steps, batch=1, accelerator=cpu(), **options)


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(cache, tmp_path):
    told, whole = [], short(cache, tmp_path / "whole", steps=3)
    with pytest.raises(Cancelled, match="after step 1 of 3"):
        short(cache, tmp_path / "run", steps=3, say=told.append, should_stop=lambda: True)
    assert "h left" in told[1]
    assert not (tmp_path / "run" / "network.safetensors").exists()
    assert short(cache, tmp_path / "run", steps=3) == pytest.approx(whole[1:], rel=1e-6)


def test_a_run_that_died_goes_on_from_its_last_save(cache, tmp_path):
    """After the save of step 2 it had taken step 3; and the next save had moved the old state away, no more."""
    short(cache, tmp_path, steps=2)
    with (tmp_path / "log.csv").open("a") as file:
        file.write("2,9.0,1,1,1\n")
    (tmp_path / "state.tmp").mkdir()
    (tmp_path / "state").rename(tmp_path / "state.old")
    assert len(short(cache, tmp_path, steps=3)) == 1
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "0", "1", "2"]
    assert not rows[-1].startswith("2,9.0")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["state"]


@pytest.mark.parametrize("change", [{"rank": 8}, {"stage": 2}, {"adapted": r"blocks\.0\.ffn\.0"}])
def test_a_run_does_not_go_on_by_another_recipe(cache, tmp_path, change):
    (tmp_path / "state").mkdir()
    recipe = {"stage": 1, "rank": 4, "adapted": RECIPE.adapted}
    (tmp_path / "state" / "progress.json").write_text(json.dumps({"step": 1, "recipe": recipe}))
    with pytest.raises(OptionError, match=r"as the run .* was begun with"):
        short(cache, tmp_path, replace(RECIPE, **change))


@pytest.mark.parametrize("damage", ["{", "[]", '{"step": 1}'])
def test_progress_that_is_damaged_is_told(cache, tmp_path, damage):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "progress.json").write_text(damage)
    with pytest.raises(ModelError, match="is damaged"):
        short(cache, tmp_path)


def test_a_state_that_is_torn_is_told(cache, tmp_path):
    short(cache, tmp_path, steps=1)
    (tmp_path / "state" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="saved is damaged"):
        short(cache, tmp_path)


class Harmful:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_cache_cannot_run_code(tmp_path, capsys):
    (tmp_path / "cache.json").write_text(json.dumps({"size": 32, "tokens": 5}))
    with webdataset.TarWriter(str(tmp_path / "shard-00000.tar")) as shard:
        shard.write({"__key__": "a", "x.pyd": pickle.dumps(Harmful())})
    with pytest.raises(ModelError, match="is damaged"):
        next(batches(tmp_path, RECIPE, 1))
    assert "unpickled" not in capsys.readouterr().out


def test_caches_that_cannot_be_trained_on_are_refused(cache, tmp_path):
    with pytest.raises(ModelError, match="1 shards; accepted: one for each of 2 processes"):
        next(batches(cache, RECIPE, 1, processes=2))
    (tmp_path / "cache.json").write_text(json.dumps({"size": 32, "tokens": 5}))
    with pytest.raises(ModelError, match="0 shards"):
        next(batches(tmp_path, RECIPE, 1))
    with webdataset.TarWriter(str(tmp_path / "shard-00000.tar")):
        pass
    with pytest.raises(ModelError, match="holds no samples"):
        next(batches(tmp_path, RECIPE, 1))
    (tmp_path / "shard-00000.tar").write_bytes(next(cache.glob("*.tar")).read_bytes()[:3000])
    with pytest.raises(ModelError, match="is damaged"):
        next(batches(tmp_path, RECIPE, 1))


def test_skipped_batches_are_those_that_would_have_come(cache):
    whole = list(islice(batches(cache, RECIPE, 3), 6))
    rest = list(islice(batches(cache, RECIPE, 3, skip=4), 2))
    assert all(torch.equal(a.rgb, b.rgb) for a, b in zip(whole[4:], rest, strict=True))


@pytest.mark.parametrize(
    ("change", "told"), [({"text_width": 16}, "text of the cache is of 12"), ({"rgb": Stream(4, 8, (1, 2, 2))}, "rgb")]
)
def test_a_network_of_other_sizes_than_the_cache_is_refused(cache, change, told):
    with pytest.raises(ModelError, match=told):
        check_fit(next(batches(cache, RECIPE, 1)), replace(SMALL, **change))


def test_both_stages_by_command(network, cache, tmp_path):
    """Wan's weights as diffusers writes them, then stage 1's folder."""
    (tmp_path / "wan").mkdir()
    save_weights(network, tmp_path / "wan" / "model.safetensors")
    sizes = {"num_attention_heads": 2, "attention_head_dim": 24, "ffn_dim": 64, "num_layers": 2, "text_dim": 12}
    (tmp_path / "wan" / "config.json").write_text(json.dumps({**sizes, "in_channels": 4}))
    shared = ["--steps", "1", "--precision", "no"]
    main([str(cache), str(tmp_path / "one"), "--start", str(tmp_path / "wan"), "--rank", "2", *shared])
    main([str(cache), str(tmp_path / "two"), "--start", str(tmp_path / "one"), "--stage", "2", *shared])
    one, two = (read_network(tmp_path / name, SMALL).state_dict() for name in ("one", "two"))
    assert torch.equal(one["blocks.0.self_attn.q.weight"], two["blocks.0.self_attn.q.weight"])
    assert not torch.equal(one["blocks.0.view_attn.o.weight"], two["blocks.0.view_attn.o.weight"])
    assert torch.equal(two["blocks.0.view_attn.norm_q.weight"], one["blocks.0.self_attn.norm_q.weight"])
    with pytest.raises(OptionError, match=r"view_every is 2; accepted: 1, as in 'one'"):
        read_network(tmp_path / "one", SMALL, {"view_every": 2})
    with pytest.raises(ModelError, match=r"holds no cache\.json"):
        main([str(tmp_path / "wan"), str(tmp_path / "three"), "--start", str(tmp_path / "wan")])


def test_a_network_that_is_not_its_config_is_refused(network, tmp_path):
    write_network(network, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for text, told in (
        (json.dumps({**config, "depth": 3}), "not of the network in its config"),
        (json.dumps({**config, "colour": 3}), "of another version"),
        ("{", "without a whole config"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=told):
            read_network(tmp_path, SMALL)


def test_open_points_are_options_of_the_command(network, tmp_path, monkeypatch):
    """What is asked of the network reaches it; the rest is as Wan's shape has it."""
    save_weights(network, tmp_path / "model.safetensors")
    (tmp_path / "cache.json").write_text(json.dumps({"size": 32, "tokens": 5}))
    sizes = {"dim": 48, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "text_dim": 12, "in_dim": 4}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    seen = []
    monkeypatch.setattr(module, "train", lambda network, *_, **__: seen.append(network.config))
    options = ["--condition-time", "shared", "--view-every", "2", "--view-embedding", "4", "--precision", "no"]
    main([str(tmp_path), str(tmp_path / "out"), "--start", str(tmp_path), *options])
    assert seen == [replace(SMALL, condition_time="shared", view_every=2, view_embedding=4)]
