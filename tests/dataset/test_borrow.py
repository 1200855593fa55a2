"""Clips borrowed between procedural rigs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from animax.assets import load_rig, read_clips
from animax.bone_map import BoneMap
from animax.diffusion.latents import LatentSpace
from animax.diffusion.text import TextEncoder
from animax.motion.bone_matching import Limbs, match_limbs
from animax.procedural import describe, generate
from animax.views.splat import SplatPoseMap
from animax_engine.dataset.bank import Source, build_bank
from animax_engine.dataset.batches import Batches
from animax_engine.dataset.borrow import (
    Body,
    Fit,
    Match,
    extend_bank,
    kept,
    leaves_views,
    renamed,
)

CHANNELS = 24
MOTIONS = {100: ("walk", "idle"), 101: ("walk", "bark"), 102: ("gallop",)}
"""Motions that each rig's manifest admits, by seed; the last is of the val split."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three quadrupeds with few motions each."""
    folder = tmp_path_factory.mktemp("data")
    rigs = []
    for seed, names in MOTIONS.items():
        (folder / f"q{seed}.glb").write_bytes(generate("quadruped", seed))
        facts = describe("quadruped", seed)
        rigs.append(
            {
                "id": f"q{seed}",
                "file": f"q{seed}.glb",
                "split": "val" if seed == 102 else "train",
                "category": "quadruped",
                "front_axis": "+z",
                "noun": facts.noun,
                "description": facts.description,
                "clips": [
                    {"name": m.name, "loop": m.loop, "action": m.action, "captions": [m.action, f"a {facts.noun}"]}
                    for m in facts.motions.values()
                    if m.action in names
                ],
            }
        )
    (folder / "manifest.json").write_text(json.dumps({"rigs": rigs}))
    return folder


@pytest.fixture(scope="module")
def banks(data, tmp_path_factory):
    """The bank and the one with borrowed clips."""
    plain, larger = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("larger")
    list(build_bank([data], plain, channels=CHANNELS, rgb_size=6, workers=1))
    before = {path.name: path.read_bytes() for path in plain.iterdir() if path.is_file()}
    list(extend_bank(plain, larger, [data], count=8, workers=1))
    assert before == {path.name: path.read_bytes() for path in plain.iterdir() if path.is_file()}
    return plain, larger


def clips_of(folder: Path) -> dict[str, list[dict]]:
    return {rig["id"]: rig["clips"] for rig in json.loads((folder / "index.json").read_text())["rigs"]}


def test_what_a_rig_lacks_is_borrowed_from_train_rigs_only(banks):
    own, more = (clips_of(folder) for folder in banks)
    borrowed = {rig: [c for c in clips if c.get("borrowed")] for rig, clips in more.items()}
    assert {c["action"] for c in borrowed["q100"]} >= {"bark"}
    assert {c["action"] for c in borrowed["q101"]} >= {"idle"}
    assert all("gallop" not in c["action"] for clips in borrowed.values() for c in clips)
    assert not borrowed["q102"]
    for rig, clips in own.items():
        assert more[rig][: len(clips)] == clips


def test_borrowed_rows_follow_the_banks_own(banks):
    poses, more = (np.load(folder / "poses.npy") for folder in banks)
    np.testing.assert_array_equal(more[: len(poses)], poses)
    rows = [
        range(c["first"], c["first"] + c["frames"]) for cs in clips_of(banks[1]).values() for c in cs if "first" in c
    ]
    assert sorted(row for part in rows for row in part) == list(range(len(poses), len(more)))
    assert len(np.load(banks[1] / "rgb.npy")) == len(poses)


def test_borrowed_motion_moves_the_rigs_own_channels(banks):
    index = json.loads((banks[1] / "index.json").read_text())
    poses = np.load(banks[1] / "poses.npy").astype(float)
    for rig in index["rigs"]:
        for clip in rig["clips"]:
            if clip.get("borrowed"):
                rows = poses[clip["first"] : clip["first"] + clip["frames"]]
                assert sorted(np.flatnonzero(np.abs(rows).max(axis=(0, 2)))) == rig["channels"]
                assert np.ptp(rows, axis=0).max() > 0.01


def test_joint_batches_hold_no_borrowed_clip(banks):
    space = LatentSpace(SplatPoseMap(CHANNELS, 4), 6)
    batches = Batches(banks[1], space, frames=9, text=TextEncoder())
    flags = np.array([clip.get("borrowed", False) for clip in batches.clips])
    assert not flags[batches.choose(200, 0.0)].any()
    assert flags[batches.choose(1000, 0.4)].mean() == pytest.approx(0.4, abs=0.06)
    assert batches.draw(32, 1, joint=True).rgb.shape == (32, 1, 10, 6, 6, 3)
    assert batches.draw(32, 1, joint=False).points.shape == (32, 1, 10, CHANNELS, 2)


def test_borrowed_clips_are_made_anew_where_what_they_are_made_from_changes(data, banks, tmp_path):
    plain, larger = banks
    again = tmp_path / "again"
    shutil.copytree(larger, again)
    assert all(line.endswith(": kept") for line in extend_bank(plain, again, [data], count=8, workers=1))
    assert clips_of(again) == clips_of(larger)
    assert not any(line.endswith(": kept") for line in extend_bank(plain, again, [data], count=1, workers=1))
    fewer = [sum(clip.get("borrowed", False) for clip in clips) for clips in clips_of(again).values()]
    assert sorted(fewer) == [0, 1, 1]


@pytest.fixture(scope="module")
def fox(data):
    rig = load_rig(data / "q100.glb")
    return Body(rig), read_clips(rig, fps=16.0)


def test_a_clip_fits_itself(fox):
    body, clips = fox
    bones = match_limbs(body.limbs, body.limbs)
    assert Match.of(bones, body).driven == 1
    for clip in clips:
        fit = Fit.of(clip, body, clip, body, bones)
        assert fit.agreement == pytest.approx(1)
        assert fit.range == pytest.approx(1)
        assert fit.sinking == 0
        assert kept(clip, body, bones) == pytest.approx(1)


def test_what_is_lost_shows(fox):
    body, clips = fox
    walk = next(clip for clip in clips if "walk" in clip.name.lower())
    bones = match_limbs(body.limbs, body.limbs)
    spine = BoneMap(tuple(p for p in bones.pairs if body.rig.skeleton.names[body.root] in p.target))
    assert kept(walk, body, spine) < 0.5
    assert Match.of(spine, body).driven < 0.5
    still = walk.with_pose(body.rig.skeleton.posed(rotations=walk.pose.rotations[[0] * len(walk)]))
    assert Fit.of(walk, body, still, body, bones).range < 0.01
    assert not Fit.of(walk, body, still, body, bones).good
    drop = np.array(walk.pose.translations)
    drop[:, 0, 1] -= 0.2 * body.rig.size
    low = walk.with_pose(replace(walk.pose, translations=drop))
    assert Fit.of(walk, body, low, body, bones).sinking == pytest.approx(0.2, rel=0.5)


def test_limbs_are_matched_by_where_their_skin_leads(data):
    """Even when no name tells."""
    bodies = [Body(load_rig(data / f"q{seed}.glb")) for seed in (100, 101)]
    nameless = [replace(b.limbs, titles=(frozenset(),) * len(b.limbs.chains)) for b in bodies]
    told = match_limbs(*(b.limbs for b in bodies))
    assert match_limbs(*nameless) == told
    assert isinstance(nameless[0], Limbs)


def test_views():
    assert not leaves_views(np.zeros((3, 5, 3)))
    assert leaves_views(np.full((3, 5, 3), 3.0))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("walk", "walk"),
        ("alpaca walking", "owl walking"),
        ("an alpaca walking", "an owl walking"),
        ("a fluffy alpaca trotting", "an old owl trotting"),
        ("the alpaca is walking", "the owl is walking"),
    ],
)
def test_captions_speak_of_the_borrower(caption, expected):
    donor = Source(Path(), "a", None, "train", "quadruped", None, "alpaca", "fluffy alpaca")
    target = Source(Path(), "b", None, "train", "bird", None, "owl", "old owl")
    assert renamed(caption, donor, target) == expected
