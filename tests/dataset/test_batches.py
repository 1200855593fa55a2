"""Batches drawn from a small bank, made here with a known motion."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from animax.diffusion.clock import Tempo  # noqa: E402
from animax.diffusion.latents import LatentSpace  # noqa: E402
from animax.diffusion.text import TextEncoder  # noqa: E402
from animax.views.splat import SplatPoseMap  # noqa: E402
from animax_engine.dataset.batches import (  # noqa: E402
    EVERYDAY_WEIGHT,
    UNCHANGED,
    Augmentation,
    Batches,
    balanced_weights,
    draw_splats,
    drawn_at,
    drawn_motion,
    drawn_plan,
    mirrored_caption,
    picture_latents,
    project,
    tangents,
)
from animax_engine.dataset.captions import captions_of, synonyms  # noqa: E402
from animax_engine.dataset.repertoire import repertoire_of  # noqa: E402

CHANNELS = 8
SPACE = LatentSpace(SplatPoseMap(CHANNELS, 4), 6)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """One rig with a looping clip of 9 frames on a circle and one of 20 frames along a line."""
    folder = tmp_path_factory.mktemp("bank")
    poses = np.zeros((1 + 9 + 20, CHANNELS, 3), np.float16)
    turn = np.linspace(0, 2 * np.pi, 9)
    poses[1:10, 2, 0], poses[1:10, 2, 1] = 0.3 * np.cos(turn), 0.3 * np.sin(turn)
    poses[10:, 5, 1] = np.linspace(-0.4, 0.4, 20)
    np.save(folder / "poses.npy", poses)
    rgb = np.random.default_rng(0).integers(0, 256, (30, 4, 6, 6, 3), dtype=np.uint8)
    np.save(folder / "rgb.npy", rgb)
    clips = [
        {"name": "a", "frames": 9, "period": 8, "action": "turn", "captions": ["turn left"]},
        {"name": "b", "frames": 20, "period": 0, "action": "rise", "captions": ["rise"]},
    ]
    rig = {"id": "r", "split": "train", "category": "prop", "channels": [2, 5], "first": 0, "clips": clips}
    rig["parents"] = [-1, -1, -1, -1, -1, 2, -1, -1]
    (folder / "index.json").write_text(json.dumps({"fps": 16.0, "room": 1.45, "channels": CHANNELS, "rigs": [rig]}))
    return folder


def batches(bank, augmentation=UNCHANGED, frames=17, seed=0):
    return Batches(bank, SPACE, frames=frames, text=TextEncoder(), augmentation=augmentation, seed=seed)


def test_points_are_the_cameras_projection_of_the_poses(bank):
    drawn = batches(bank).draw(4, 4, joint=True, clips=np.array([1, 1, 1, 1]))
    assert drawn.points.shape == (4, 4, 18, CHANNELS, 2)
    # the template stands at the origin, which the views show at their centre
    np.testing.assert_allclose(drawn.points[:, :, 0, 5], 0.5, atol=1e-5)
    # what rises in the world rises in every picture (y down), until it is held at its end
    heights = drawn.points[:, :, 1:, 5, 1].numpy()
    assert np.all(np.diff(heights, axis=2) <= 1e-6)


def test_loops_go_round_and_others_hold_their_ends(bank):
    source = batches(bank, frames=33)
    clips = np.array([0, 1])
    times = source.wound(source.times(clips), clips)
    assert times[0].max() <= 8
    assert np.any(np.diff(times[0]) < 0)
    assert np.all(np.diff(times[1]) >= 0)
    assert times[1][0] == 0
    assert times[1][-1] == 19


def test_mirrored_bodies_are_seen_mirrored(bank):
    """Mirroring the body is mirroring the front picture, with the side views' roles swapped."""
    plain = batches(bank, UNCHANGED).draw(2, 4, joint=True, clips=np.array([1, 1]))
    mirror = batches(bank, replace(UNCHANGED, mirror=1.0)).draw(2, 4, joint=True, clips=np.array([1, 1]))
    swapped = batches(bank).mirror
    order = [0, 3, 2, 1]
    expected = plain.points[:, order].clone()
    expected[..., 0] = 1 - expected[..., 0]
    used = plain.mask[0].bool()
    torch.testing.assert_close(mirror.points[:, :, 0, swapped[used]], expected[:, :, 0][:, :, used], atol=1e-5, rtol=0)
    assert torch.equal(mirror.mask[:, swapped], plain.mask)
    assert torch.equal(mirror.rgb[:, :, 0], plain.rgb[:, order, 0].flip(-2))


def test_captions_swap_sides_with_the_body():
    assert mirrored_caption("punch with the Left fist, right foot back") == "punch with the Right fist, left foot back"
    assert mirrored_caption("leftover brightness") == "leftover brightness"


def test_splats_equal_the_codec(bank):
    points = torch.rand(2, 3, 4, CHANNELS, 2)
    mask = torch.ones(2, CHANNELS)
    mask[:, 3] = 0
    made = draw_splats(points, mask, SPACE).numpy()

    class Markers:
        channels = np.array([c for c in range(CHANNELS) if c != 3])

    for b in range(2):
        maps = SPACE.codec.draw(points[b][:, :, Markers.channels].double().numpy() * 96, None, Markers, 96)
        np.testing.assert_allclose(made[b], SPACE.encode_pose(maps), atol=1e-5)


@pytest.mark.parametrize("augmentation", [UNCHANGED, Augmentation()])
def test_a_clip_shows_moves_from_rest(bank, augmentation, monkeypatch):
    """The same samples as of places in the image, with rest in the middle and moves from it companded."""
    moved = batches(bank, augmentation, frames=17, seed=3).draw(6, 4, joint=False)
    with monkeypatch.context() as patched:
        patched.setattr("animax_engine.dataset.batches.drawn_at", lambda places, rest: places)
        plain = batches(bank, augmentation, frames=17, seed=3).draw(6, 4, joint=False)
    rest = plain.points[:, :, :1]
    torch.testing.assert_close(moved.points[:, :, :1], rest)
    for ours, places in ((moved.points[:, :, 1:], plain.points[:, :, 1:]), (moved.moved, plain.moved)):
        expected = SPACE.drawn_at(places.double().numpy(), rest.double().numpy())
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)
    template, at_rest, motion = drawn_motion(moved, SPACE)
    torch.testing.assert_close(template, draw_splats(rest, moved.mask, SPACE)[:, :, 0])
    clip = draw_splats(moved.points[:, :, 1:], moved.mask, SPACE)
    torch.testing.assert_close(at_rest[:, :, None] + motion, clip, atol=1e-5, rtol=0)
    assert torch.equal(at_rest[0, 0, 2], at_rest[0, 1, 2]), "every view shows rest in the middle"


def test_tangents_equal_the_latent_space(bank):
    """On bodies that are neither stretched nor turned, and on those that are."""
    source = batches(bank, Augmentation(), seed=2)
    for joint in (True, False):
        batch = source.draw(3, 4, joint=joint)
        made = tangents(batch.moved, batch.mask, SPACE).numpy()
        assert batch.moved.shape == (3, 4, 6, CHANNELS, 2)
        gram = np.einsum("bvcihw,bvcjhw->bvcij", made, made)
        np.testing.assert_allclose(np.linalg.eigvalsh(gram)[..., 0], 0, atol=1e-4)
        assert not made[(batch.mask == 0)[:, None].expand(-1, 4, -1).numpy()].any()
    positions = np.random.default_rng(0).uniform(-0.3, 0.3, (CHANNELS, 3))

    class Markers:
        channels = np.arange(CHANNELS)

    expected = SPACE.tangents(Markers, source.cameras, positions)
    step = 0.01 * np.ptp(positions, axis=0).max() * np.concatenate([np.eye(3), -np.eye(3)])
    rest, moved = (
        project(torch.from_numpy(points[None]).float(), source.projections[None])
        for points in (positions[None], positions + step[:, None])
    )
    made = tangents(drawn_at(moved, rest), torch.ones(1, CHANNELS), SPACE).numpy()[0]
    np.testing.assert_allclose(made, expected, atol=2e-3)


def test_picture_latents_equal_the_latent_space():
    pictures = np.random.default_rng(1).integers(0, 256, (2, 4, 3, 6, 6, 3), dtype=np.uint8)
    made = picture_latents(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(made, SPACE.encode_rgb(pictures), atol=1e-6)


def test_balanced_weights_raise_what_is_rare():
    clips = [{"category": "a", "action": "walk"}] * 16 + [{"category": "b", "action": "fly"}]
    weights = balanced_weights(clips, np.ones(len(clips), bool))
    assert weights.sum() == pytest.approx(1)
    assert weights[:16].sum() / weights[-1] == pytest.approx(4)


def test_balanced_weights_favour_what_is_asked_for_every_day():
    clips = [
        {"category": "a", "action": "walk"},
        {"category": "a", "action": "walk_gun"},
        {"category": "b", "action": "x"},
    ]
    weights = balanced_weights(clips, np.ones(len(clips), bool))
    assert weights[0] / weights[1] == pytest.approx(EVERYDAY_WEIGHT)
    assert weights[:2].sum() / weights[2] == pytest.approx(2**0.5), "a category's share is that of its clips"
    assert balanced_weights(clips, np.array([True, False, True]))[1] == 0


def test_what_moves_little_counts_more_and_clips_of_an_action_alike(bank, tmp_path):
    index = json.loads((bank / "index.json").read_text())
    rig = index["rigs"][0]
    poses = np.load(bank / "poses.npy")
    calm = poses[:1] + 0.1 * (poses[10:] - poses[:1])
    np.save(tmp_path / "poses.npy", np.concatenate([poses, calm, poses[10:15]]))
    rig["clips"] += [
        {"name": "c", "frames": 20, "period": 0, "action": "rise_slowly", "captions": ["rise slowly"]},
        {"name": "d", "frames": 5, "period": 0, "action": "rise", "captions": ["rise"]},
    ]
    (tmp_path / "index.json").write_text(json.dumps(index))
    drawn = batches(tmp_path)
    assert torch.equal(drawn.weights, torch.ones(4))
    drawn.weigh()
    turn, rise, slowly, again = drawn.weights.tolist()
    assert slowly > 3 * rise
    assert rise == again
    assert turn != rise
    assert drawn.odds(0) @ drawn.weights.numpy() == pytest.approx(1)
    one = drawn.draw(2, 1, joint=False, clips=np.array([2, 0]))
    assert one.weight.tolist() == [slowly, turn]


def test_same_seed_same_batch(bank):
    a, b = (batches(bank, Augmentation(), seed=3).draw(8, 1, joint=False) for _ in range(2))
    assert torch.equal(a.points, b.points)
    assert torch.equal(a.text, b.text)


def test_backwards_an_opening_is_a_closing(bank, tmp_path):
    index = json.loads((bank / "index.json").read_text())
    index["rigs"][0]["clips"][1] |= {"action": "open", "captions": ["open"]}
    index["rigs"][0]["clips"][0] |= {"action": "close", "captions": ["close"]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "poses.npy").symlink_to(bank / "poses.npy")
    made = batches(tmp_path, replace(UNCHANGED, backwards=1.0))
    drawn = made.draw(3, 1, joint=False, clips=np.array([1, 1, 1]))
    assert torch.all(drawn.points[:, 0, 1:, 5, 1].diff(dim=1) >= -1e-6), "it sinks, y pointing down"
    closing = {captions_of(clip, "prop")[0]: clip["texts"][0] for clip in made.clips}["close"]
    assert made.clips[1]["backwards"][0] == closing
    assert all(any(np.array_equal(text, made.text[row]) for row in closing) for text in drawn.text.numpy())


def test_augmented_batches_stay_finite_and_keep_used_channels(bank):
    drawn = batches(bank, Augmentation(bones=0.3, drop=1.0)).draw(64, 4, joint=False)
    assert torch.isfinite(drawn.points).all()
    assert (drawn.mask.sum(dim=1) >= 1).all()
    assert (drawn.mask <= batches(bank).draw(1, 1, joint=False).mask.amax()).all()


def test_the_clock_tells_the_time_of_every_frame(bank):
    """The loop of one turn in 8 frames from its first one; the other is done once, in 19."""
    batch = batches(bank).draw(6, 4, joint=True, clips=np.array([0, 0, 0, 1, 1, 1]))
    across = batch.points[:3, 0, 1:, 2, 0] - batch.points[:3, 0, 1:, 2, 0].mean(dim=1, keepdim=True)
    level = batch.clock[:3, :, 2]  # cos of the turn, as the marker moves across
    for a, b in zip(across, level, strict=True):
        assert abs(np.corrcoef(a, b)[0, 1]) > 0.98
    height, done = batch.points[3:, 0, 1:, 5, 1], batch.clock[3:, :, 6]
    for a, b in zip(height, done, strict=True):
        assert abs(np.corrcoef(a, b)[0, 1]) > 0.98
    assert torch.all(batch.clock[:, :, 0] == 1)
    np.testing.assert_allclose(batch.clock[:3, :, 7], np.log2(8 / 16), atol=1e-6)
    np.testing.assert_allclose(batch.clock[3:, :, 7], np.log2(19 / 16), atol=1e-6)


def test_a_faster_motion_has_a_shorter_turn(bank):
    fast = batches(bank, replace(UNCHANGED, speed=2.0)).draw(20, 1, joint=True, clips=np.zeros(20, int))
    angle = torch.atan2(fast.clock[:, 1, 3], fast.clock[:, 1, 2]) - torch.atan2(
        fast.clock[:, 0, 3], fast.clock[:, 0, 2]
    )
    turned = (angle / (2 * np.pi)) % 1.0
    np.testing.assert_allclose(1 / turned, 16 * 2 ** fast.clock[:, 0, 7], rtol=1e-4)
    assert turned.std() > 0.02


def test_backwards_time_runs_back(bank):
    source = batches(bank)
    times = np.array([[3.0, 4.0, 5.0], [3.0, 4.0, 5.0]])
    forth, back = (
        source._turns(np.array([0, 1]), times, np.array([flag, flag]), np.zeros(2, bool))[0] for flag in (False, True)
    )
    np.testing.assert_allclose(back[0], -forth[0])
    np.testing.assert_allclose(back[1], 1 - forth[1])


def test_packed_batches_show_the_same_bodies(bank):
    batch = batches(bank).draw(5, 4, joint=False)
    packed = batch.packed()
    assert packed.mask.shape == (5, 2)
    for i in range(5):
        assert torch.equal(packed.points[i][:, :, packed.mask[i] > 0], batch.points[i][:, :, batch.mask[i] > 0])
        assert torch.equal(packed.moved[i][:, :, packed.mask[i] > 0], batch.moved[i][:, :, batch.mask[i] > 0])


def test_a_bank_s_repertoire_holds_its_clips(bank):
    text = TextEncoder()
    repertoire = repertoire_of(bank, text)
    assert repertoire.is_whole()
    rest = np.zeros((2, 3))
    turning, rising = (repertoire.plan(rest, text.encode([prompt])[0], 0) for prompt in ("turn left", "rise"))
    assert turning.tempo == Tempo(True, pytest.approx(8.0))
    assert rising.tempo == Tempo(False, pytest.approx(19.0))
    # both markers rest in one place, so that each takes half of what one of them does
    turns = np.linspace(0, 1, 5)
    half = 0.15 * np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns), np.zeros(5)], axis=-1)
    np.testing.assert_allclose(turning.moves(turns), np.repeat(half[:, None], 2, axis=1), atol=0.003)
    np.testing.assert_allclose(rising.moves(turns)[:, 0, 1], 0.5 * np.linspace(-0.4, 0.4, 5), atol=0.01)


def test_clips_that_are_ordered_alike_are_of_one_kind_told_by_all_their_captions(bank, tmp_path):
    shutil.copytree(bank, tmp_path, dirs_exist_ok=True)
    index = json.loads((bank / "index.json").read_text())
    first, second = index["rigs"][0]["clips"]
    first |= {"action": "walk", "captions": ["walk", "a dog walking"]}
    second |= {"action": "walk_legs", "captions": ["walk", "a crab scuttling along"]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    text = TextEncoder()
    repertoire = repertoire_of(tmp_path, text)
    assert repertoire.kind.tolist() == [0, 0]
    assert repertoire.anywhere.tolist() == [True]
    states = text.encode(["a dog walking", "a crab scuttling along", "walk", "plough a field", *synonyms("walk_legs")])
    cosines = (repertoire.text @ states[:, 0].T).max(axis=0)
    np.testing.assert_allclose(np.delete(cosines, 3), 1.0, atol=1e-5)
    assert cosines[3] < 0.9
    assert len(repertoire.text) > 12


def test_batches_show_what_is_planned(bank, tmp_path):
    """A clip's own plan is the clip, where it is told by its own words and markers rest apart."""
    shutil.copytree(bank, tmp_path, dirs_exist_ok=True)
    apart = np.load(bank / "poses.npy")
    apart[:, 2, 0] += 0.5
    apart[:, 5, 0] -= 0.5
    np.save(tmp_path / "poses.npy", apart)
    made = batches(tmp_path)
    made.repertoire = repertoire_of(tmp_path, TextEncoder())
    drawn = made.draw(8, 4, joint=False, clips=np.array([0, 1] * 4))
    used = drawn.mask[0] > 0
    assert (drawn.planned - drawn.points[:, :, 1:])[..., used, :].abs().max() < 0.02
    assert (drawn.planned[..., used, :] - 0.5).abs().max() > 0.1
    plan = drawn_plan(drawn, SPACE)
    assert plan.shape == (8, 4, 17, CHANNELS, 4, 4)
    torch.testing.assert_close(plan, drawn_motion(drawn, SPACE)[2], atol=0.2, rtol=0)
    assert not plan[:, :, :, ~used].any()
    made.left_out = 1.0  # there is nobody else
    drawn = made.draw(8, 4, joint=False, clips=np.array([0, 1] * 4))
    assert (drawn.planned - drawn.points[:, :, 1:])[..., used, :].abs().max() < 0.02


def test_batches_of_bodies_alike_leave_nothing_out(tmp_path):
    """Four rigs of one to four markers: every batch is of one of them, and all come as often as they are chosen."""
    np.save(tmp_path / "poses.npy", np.zeros((4 * 3, CHANNELS, 3), np.float16))
    rigs = [
        {
            "id": str(i),
            "split": "train",
            "category": "prop",
            "channels": list(range(i + 1)),
            "parents": [-1] * CHANNELS,
            "first": 3 * i,
            "clips": [{"name": "a", "frames": 2, "period": 0, "action": "idle", "captions": ["idle"]}],
        }
        for i in range(4)
    ]
    (tmp_path / "index.json").write_text(json.dumps({"fps": 16.0, "room": 1.45, "channels": CHANNELS, "rigs": rigs}))
    source = batches(tmp_path)
    drawn = [source.alike(100, 0.0) for _ in range(8)]
    assert all(np.ptp(source.rig[clips]) <= 2 for clips in drawn)
    counts = np.bincount(source.rig[np.concatenate(drawn)])
    np.testing.assert_allclose(counts, 200, atol=60)
