"""Training on a tiny network: the loss falls, clean slots are out of it, and a resumed run is the same run."""

import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from animax.diffusion.clock import FEATURES  # noqa: E402
from animax.diffusion.latents import LatentSpace  # noqa: E402
from animax.views.splat import SplatPoseMap  # noqa: E402
from animax_engine import cli  # noqa: E402
from animax_engine.dataset.bank import build_bank  # noqa: E402
from animax_engine.dataset.batches import Batch, drawn_motion, shared_noise, tangents  # noqa: E402
from animax_engine.dataset.components import principal_components, variances  # noqa: E402
from animax_engine.export import read_state  # noqa: E402
from animax_engine.network import EMBEDDED, Stream  # noqa: E402
from animax_engine.train import ABLATIONS, Losses, TrainConfig, Trainer, faster_type, flow_loss, main  # noqa: E402

CHANNELS, FRAMES = 4, 9
NETWORK = replace(
    EMBEDDED,
    rgb=Stream(3, 6, (4, 6, 6), components=8),
    pose=Stream(CHANNELS, 4, (4, 4, 4), components=8),
    width=64,
    depth=2,
    heads=1,
    ffn=64,
    text_width=8,
    marker_width=32,
)
SPACE = LatentSpace(SplatPoseMap(CHANNELS, 4), 6)
CONFIG = TrainConfig(batch=16, steps=200, rate=3e-3, warmup=5, ema=0.9)


def batch(joint=True, views=1, seed=0, shared=False):
    """Markers that all move alike, to the left or to the right as the text says. ``shared``: a move along the second
    axis lifts them in every view, one along the first goes across in two of them."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(0, 2, (16,), generator=generator) * 2.0 - 1
    times = torch.linspace(0, 0.3, FRAMES + 1)
    points = 0.5 + torch.zeros(16, views, FRAMES + 1, CHANNELS, 2)
    points[..., 0] += (side[:, None] * times)[:, None, :, None]
    rgb = torch.randint(0, 256, (16, views, FRAMES + 1, 6, 6, 3), generator=generator, dtype=torch.uint8)
    text = (side[:, None, None] * torch.ones(16, 3, 8)).half()
    moved = None
    if shared:
        steps = torch.zeros(16, views, 6, CHANNELS, 2)
        steps[:, ::2, 0, :, 0], steps[:, :, 1, :, 1], steps[:, 1::2, 2, :, 0] = 0.01, 0.01, 0.01
        moved = points[:, :, :1] + steps - steps.roll(3, dims=2)
    clock = torch.zeros(16, FRAMES, FEATURES)
    return Batch(points, torch.ones(16, CHANNELS), rgb if joint else None, text, torch.ones(16), clock, moved)


def train(trainer, losses, batch):
    """One step; the loss's parts."""
    parts = losses.backward(batch)
    gradients = []
    for parameter in trainer.shadow.parameters():
        if parameter.requires_grad:
            gradients.append(None if parameter.grad is None else parameter.grad.float())
            parameter.grad = None
    trainer.train_step(gradients)
    return parts


def start(network=NETWORK, config=CONFIG):
    trainer = Trainer(network, config, FRAMES)
    return trainer, Losses(trainer.shadow, config, FRAMES, SPACE, rays=torch.ones(1, 4, 6, 4, 4))


def differences():
    drawn = batch(joint=False)
    return drawn_motion(drawn, SPACE)[2], drawn.weight, drawn.mask > 0


@pytest.mark.parametrize(("views", "shared"), [(1, False), (4, True)])
def test_loss_falls_below_what_a_linear_guess_leaves(views, shared):
    """At first it is the linear guess, a loss of about 1, less of what stands still. The text alone tells the rest."""
    trainer, losses = start(config=replace(CONFIG, views=views))
    components = trainer.master.components["pose"]
    basis = principal_components(differences, components, 4)
    components.fit(basis, variances(differences, components, basis, 4))
    trainer.take_over()
    seen = [train(trainer, losses, batch(step % 2 == 0, views, step, shared))["pose"] for step in range(60)]
    assert 0.3 < np.mean(seen[:3]) < 1.0
    assert np.mean(seen[-10:]) < 0.5 * np.mean(seen[:3])


def test_views_share_the_noise_on_a_marker_s_place_and_no_other():
    drawn = batch(joint=False, views=4, shared=True)
    noise = shared_noise(drawn.moved, drawn.mask, SPACE, FRAMES, torch.Generator().manual_seed(0)).flatten(-2)
    assert noise.std() == pytest.approx(1, abs=0.02)
    along = tangents(drawn.moved, drawn.mask, SPACE).flatten(-2)[:, :, None]
    said = (along @ noise[..., None])[..., 0]  # (16, V, F, C, 3)
    torch.testing.assert_close(said[:, 0, ..., 1], said[:, 1, ..., 1], atol=1e-3, rtol=0)  # up is up in all views
    torch.testing.assert_close(said[:, 0, ..., 0], said[:, 2, ..., 0], atol=1e-3, rtol=0)
    assert said[:, 1, ..., 0].abs().max() < 1e-3, "these views do not see the first axis"
    rest = noise - (along.mT @ said[..., None])[..., 0]
    assert abs(np.corrcoef(rest[:, 0].flatten(), rest[:, 1].flatten())[0, 1]) < 0.02


def test_clean_slots_are_out_of_the_loss():
    trainer, _ = start()
    drawn = batch(joint=False)
    moved = replace(drawn, points=drawn.points.clone())
    keep = torch.ones(16, dtype=torch.bool)
    noise = {"pose": torch.randn(16, 1, 3, CHANNELS, 8)}

    def loss(sigma):
        return flow_loss(trainer.shadow, SPACE, moved, sigma, keep, None, moved.time(4), noise)["pose"].item()

    assert loss(torch.zeros(16, 3)) == 0.0
    assert loss(torch.full((16, 3), 0.5)) > 0.0


def test_noise_levels_leave_history_and_pinned_ends_clean():
    sigma = start(config=replace(CONFIG, history=1.0, pinned=1.0))[1].sigmas(64, 9)
    assert torch.all(sigma[:, 0] == 0)
    assert torch.all(sigma[:, -1] == 0)
    assert torch.all(sigma[:, 4:-1] > 0)
    free = start(config=replace(CONFIG, history=0.0, pinned=0.0))[1].sigmas(64, 9)
    assert torch.all((free > 0) & (free < 1))
    assert torch.all(free == free[:, :1])


def test_resumed_run_has_the_same_weights(tmp_path):
    trainer, losses = start()
    for step in range(3):
        train(trainer, losses, batch(seed=step))
    trainer.save(tmp_path / "checkpoint.pt")
    resumed, other_losses = start()
    resumed.load(read_state(tmp_path / "checkpoint.pt"))
    other_losses.noise.set_state(losses.noise.get_state())
    for step in range(3, 5):
        train(trainer, losses, batch(seed=step))
        train(resumed, other_losses, batch(seed=step))
    for (name, a), b in zip(trainer.master.named_parameters(), resumed.master.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    assert resumed.step == 5


def test_frozen_trunk_trains_cross_view_parts_only():
    trainer, losses = start(config=replace(CONFIG, freeze_trunk=True, views=4))
    before = {name: p.clone() for name, p in trainer.master.named_parameters()}
    for step in range(3):
        train(trainer, losses, batch(views=4, seed=step))
    changed = {name for name, p in trainer.master.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all("view_attn" in name or "ray_embedding" in name for name in changed)


def test_licence_and_notice_of_the_model_gone_on_from_stay(tmp_path):
    first, _ = start()
    first.save(tmp_path / "checkpoint.pt")
    state = read_state(tmp_path / "checkpoint.pt")
    assert not {"licence", "notice"} & state.keys()
    second, _ = start()
    second.load({**state, "licence": "MIT", "notice": "by somebody"}, new_stage=True)
    second.save(tmp_path / "second.pt")
    third, _ = start()
    third.load(read_state(tmp_path / "second.pt"))
    third.save(tmp_path / "third.pt")
    kept = read_state(tmp_path / "third.pt")
    assert (kept["licence"], kept["notice"]) == ("MIT", "by somebody")


def test_new_stage_starts_from_averaged_weights_and_names_what_is_new(tmp_path, capsys):
    first, losses = start()
    train(first, losses, batch())
    first.save(tmp_path / "checkpoint.pt")
    second = Trainer(replace(NETWORK, rgb=Stream(3, 6, (4, 6, 6), components=4)), CONFIG, FRAMES)
    second.load(read_state(tmp_path / "checkpoint.pt"), new_stage=True)
    assert "starts fresh: rgb_embedding.weight" in capsys.readouterr().out
    assert second.step == 0
    torch.testing.assert_close(second.master.markers.guessing.weight, first.averaged.markers.guessing.weight)


SMALL = replace(NETWORK, rgb=Stream(3, 4, (4, 4, 4), 8), pose=Stream(16, 4, (4, 4, 4), 8), text_width=384)


@pytest.fixture(scope="module")
def begun(tmp_path_factory, request):
    """A folder with a rig below ``data`` and a checkpoint to start from, and arguments of short runs."""
    folder = tmp_path_factory.mktemp("begun")
    Trainer(SMALL, CONFIG, FRAMES).save(folder / "small.pt")
    (folder / "data").mkdir()
    (folder / "data" / "worm.glb").write_bytes((request.config.rootpath / "examples" / "snake.glb").read_bytes())
    return folder, ["--start", str(folder / "small.pt"), "--batch", "4", "--processes", "1", "--precision", "fp32"]


@pytest.fixture(scope="module")
def bank(begun):
    folder, _ = begun
    list(build_bank([folder / "data"], folder / "bank", channels=16, rgb_size=4, workers=1))
    return str(folder / "bank")


def test_a_folder_of_rigs_is_all_that_training_needs(begun, tmp_path, capsys):
    """Bank, run, and a second run that goes on."""
    folder, argv = begun
    run = tmp_path / "run"
    argv = [str(run), "--data", str(folder / "data"), *argv]
    main([*argv, "--steps", "2"])
    assert "worm: " in capsys.readouterr().out
    index = json.loads((run / "bank" / "index.json").read_text())
    assert all(clip["captions"] == [clip["name"].lower()] for clip in index["rigs"][0]["clips"])
    main([*argv, "--steps", "3"])
    assert "worm: kept" in capsys.readouterr().out, "the bank is there already"
    state = read_state(run / "checkpoint.pt")
    assert (state["step"], state["frames"]) == (3, FRAMES)
    assert state["network"] == SMALL.as_dict()


def test_components_of_other_streams_are_found_anew(begun, bank, tmp_path, capsys):
    main([str(tmp_path / "run"), "--bank", bank, *begun[1], "--components", "10", "--steps", "1", "--rate", "0"])
    said = capsys.readouterr().out
    for name in ("components.pose.basis", "markers.reading.weight", "markers.seen.weight", "markers.guessing.weight"):
        assert f"starts fresh: {name}\n" in said
    state, first = read_state(tmp_path / "run" / "checkpoint.pt"), read_state(begun[0] / "small.pt")
    assert state["network"]["pose"]["components"] == 10
    before, after = first["averaged"], state["master"]
    for name in ("rgb_head.weight", "components.rgb.basis", "markers.rest.weight"):
        assert torch.equal(after[name], before[name])
    basis = after["components.pose.basis"]
    torch.testing.assert_close(basis @ basis.T, torch.eye(10), atol=1e-4, rtol=0)
    assert torch.equal(after["components.pose.noise"][1], torch.ones(10))


@pytest.mark.parametrize("part", ABLATIONS)
def test_a_network_is_trained_without_any_part_of_the_method(part, begun, bank, tmp_path):
    main(
        [
            str(tmp_path),
            "--bank",
            bank,
            *begun[1],
            "--rgb-share",
            "1",
            "--views",
            "4",
            "--steps",
            "1",
            "--without",
            part,
        ]
    )
    state = read_state(tmp_path / "checkpoint.pt")
    assert state["step"] == 1
    assert state["network"] == replace(SMALL, **{part: False}).as_dict()
    lacking = {"joint": "rgb", "modality_embedding": "modality", "multi_view": "view_attn", "rays": "ray"}
    assert part not in lacking or not any(lacking[part] in name for name in state["master"])


def test_a_run_of_some_minutes_goes_on_in_its_decay(begun, bank, tmp_path):
    trainer = Trainer(SMALL, replace(CONFIG, warmup=0), FRAMES)
    trainer.time_share = 0.75
    trainer.save(tmp_path / "checkpoint.pt")
    argv = [str(tmp_path), "--bank", bank, *begun[1], "--minutes", "60"]
    main([*argv, "--steps", "1"])
    state = read_state(tmp_path / "checkpoint.pt")
    assert 0.75 < state["time_share"] < 1
    resumed = Trainer(SMALL, replace(CONFIG, warmup=0), FRAMES)
    resumed.load({**state, "time_share": 0.75})
    assert resumed.rate() == trainer.rate() < 0.2 * CONFIG.rate
    torch.save({**state, "time_share": 1.0}, tmp_path / "checkpoint.pt")
    main([*argv, "--steps", "9"])
    assert read_state(tmp_path / "checkpoint.pt")["step"] == 2, "its time is over"
    del state["time_share"]
    resumed = Trainer(SMALL, CONFIG, FRAMES)
    resumed.load(state)
    assert resumed.time_share == 0


def test_a_run_that_fails_leaves_no_process(begun, bank, tmp_path, monkeypatch):
    def save(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Trainer, "save", save)
    with pytest.raises(OSError, match="disk full"):
        main([str(tmp_path), "--bank", bank, *begun[1], "--processes", "2", "--steps", "1"])
    assert not multiprocessing.active_children()


def test_what_training_cannot_start_from_is_named(tmp_path, capsys):
    argv = ["train", str(tmp_path / "run"), "--data", str(tmp_path), "--start", "nobody"]
    assert cli.main(argv) == 1
    assert "no model 'nobody'" in capsys.readouterr().err


def test_the_number_type_is_the_faster_one(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 1.5, 0.0, 1.0, 1.0, 51.0])  # fp32, then bf16
    monkeypatch.setattr("animax_engine.train.time.perf_counter", lambda: next(clock))
    assert faster_type() == torch.bfloat16
    assert faster_type() == torch.float32
