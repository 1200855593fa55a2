from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from animax import rotations
from animax.assets import load_rig, read_clips
from animax.bone_map import BoneMap, ChainPair
from animax.errors import BoneMapError, Cancelled, OptionError
from animax.motion.clip import Clip
from animax.procedural import generate
from animax.request import RetargetRequest, RootMode, Stage
from animax.retargeting import bone_map, choose_clip, judged, moving_clips, retarget_clip
from tests.motion.synthetic import biped, random_pose, snake

RIG, OTHER = biped(), biped(seed=3, scale=2.0)
CLIP = Clip("dance", 30.0, random_pose(RIG, 40))


@pytest.fixture(scope="module")
def horse():
    return load_rig(generate("quadruped"))


def path(rig, clip):
    """(F, 3) of the hips from their rest place, in the rig's own size."""
    return (rig.skeleton.positions(clip.pose)[:, 1] - rig.skeleton.rest_globals[1, :3, 3]) / rig.size


def test_blocks_of_frames_leave_no_trace(monkeypatch):
    whole = retarget_clip(CLIP, RIG, OTHER, RetargetRequest()).clip
    monkeypatch.setattr("animax.retargeting.BLOCK", 7)
    parts = retarget_clip(CLIP, RIG, OTHER, RetargetRequest()).clip
    np.testing.assert_allclose(parts.pose.rotations, whole.pose.rotations, atol=1e-12)
    np.testing.assert_allclose(parts.pose.translations, whole.pose.translations, atol=1e-9)


def test_it_can_be_stopped_between_blocks_and_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr("animax.retargeting.BLOCK", 10)
    heard = []
    retarget_clip(CLIP, RIG, OTHER, RetargetRequest(), progress=heard.append)
    fractions = [progress.fraction for progress in heard]
    assert fractions == sorted(fractions)
    assert {progress.stage for progress in heard} == {Stage.ROTATIONS, Stage.CLEAN}
    asked = []
    with pytest.raises(Cancelled):
        retarget_clip(CLIP, RIG, OTHER, RetargetRequest(), should_stop=lambda: asked.append(0) or len(asked) > 3)
    assert len(asked) == 4


def test_options():
    plain = retarget_clip(CLIP, RIG, OTHER, RetargetRequest(foot_cleanup=False)).clip
    np.testing.assert_allclose(path(OTHER, plain), path(RIG, CLIP), atol=1e-9)
    half = retarget_clip(CLIP, RIG, OTHER, RetargetRequest(foot_cleanup=False, root_scale=0.5)).clip
    np.testing.assert_allclose(path(OTHER, half), path(RIG, CLIP) * [0.5, 1, 0.5], atol=1e-9)
    assert len(retarget_clip(CLIP, RIG, OTHER, RetargetRequest(fps=60)).clip) == 79
    fixed = retarget_clip(CLIP, RIG, OTHER, RetargetRequest(root_mode=RootMode.FIXED_BASE)).clip
    np.testing.assert_allclose(path(OTHER, fixed), 0, atol=1e-6)


def walk_away(rig, frames=90, metres=3.0):
    pose = rig.skeleton.posed(rotations=np.repeat(rig.skeleton.rest.rotations[None], frames, axis=0))
    along = np.linspace(0, metres, frames)[:, None] * rig.stance.forward
    parent = rig.skeleton.rest_globals[0, :3, :3]
    pose.translations[:, 1] += np.linalg.solve(parent, along.T).T
    return Clip("goes", 30.0, pose)


def test_travel_goes_along_or_not():
    clip = walk_away(RIG)
    with_it, without = (
        retarget_clip(clip, RIG, OTHER, RetargetRequest(root_mode=mode, foot_cleanup=False)).clip
        for mode in (None, RootMode.IN_PLACE)
    )
    assert np.ptp(path(OTHER, with_it)[:, 2]) == pytest.approx(np.ptp(path(RIG, clip)[:, 2]), rel=1e-6)
    assert np.ptp(path(OTHER, without)[:, 2]) < 0.05


def test_what_would_be_too_much_or_nothing_is_refused(monkeypatch):
    with pytest.raises(BoneMapError, match="at least one pair"):
        retarget_clip(CLIP, RIG, OTHER, RetargetRequest(bones=BoneMap(()), only_given=True))
    resting = BoneMap((ChainPair((), ("head",)),))
    with pytest.raises(BoneMapError):
        retarget_clip(CLIP, RIG, OTHER, RetargetRequest(bones=resting, only_given=True))
    monkeypatch.setattr("animax.retargeting.MOST_SAMPLES", 500)
    with pytest.raises(OptionError, match="760 frames times joints"):
        retarget_clip(CLIP, RIG, OTHER, RetargetRequest())


@pytest.mark.parametrize(
    "options", [{"fps": 0.5}, {"fps": float("nan")}, {"root_scale": -1}, {"root_scale": 99}, {"only_given": True}]
)
def test_options_out_of_range(options):
    with pytest.raises(OptionError):
        RetargetRequest(**options)


@pytest.mark.parametrize("pair", [(RIG, OTHER), (snake(24), snake(13)), (snake(9), snake(31))])
def test_a_map_through_a_file_moves_the_target_exactly_as_the_guess_does(pair):
    source, target = pair
    clip = Clip("dance", 30.0, random_pose(source, 6))
    bones = bone_map(source, target, RetargetRequest())
    read = BoneMap.from_dict(json.loads(json.dumps(bones.as_dict())))
    made = [
        retarget_clip(clip, source, target, request).clip.pose.rotations
        for request in (RetargetRequest(), RetargetRequest(bones=read, only_given=True))
    ]
    assert (made[0] == made[1]).all()


def test_what_should_be_looked_at_is_told():
    bones = bone_map(RIG, RIG, RetargetRequest())
    assert judged(bones, RIG, RIG, CLIP) == (pytest.approx(1, abs=0.05), ())
    headless = BoneMap(tuple(pair for pair in bones.pairs if "head" not in pair.target))
    confidence, warnings = judged(headless, RIG, RIG, CLIP)
    assert confidence < judged(bones, RIG, RIG)[0]
    assert warnings == ("nothing follows these moving bones of the source: head",)
    doubtful = BoneMap((*headless.pairs, ChainPair(("head",), ("head",), 1.09, "shape")))
    assert "not sure of head" in judged(doubtful, RIG, RIG)[1][0]
    unsure = replace(RIG, stance=replace(RIG.stance, confidence=0.3, source="default"))
    assert "source faces" in judged(bones, unsure, RIG)[1][0]
    assert "target faces" in judged(bones, RIG, unsure)[1][0]
    few = BoneMap(tuple(pair for pair in bones.pairs if "spine" in pair.target))
    assert "drives 2 of 18" in judged(few, RIG, RIG)[1][0]


def test_an_animation_is_chosen_by_name_or_number(horse):
    names = [clip.name for clip in read_clips(horse)]
    assert choose_clip(horse, names[3]).name == choose_clip(horse, index=3).name == names[3]
    assert choose_clip(horse, names[3], 10.0).fps == 10
    assert moving_clips(horse) == list(range(len(names)))
    for arguments, told in (({}, names[0]), ({"name": "flies"}, names[0]), ({"index": 99}, "0 to")):
        with pytest.raises(OptionError, match=told):
            choose_clip(horse, **arguments)


def test_joints_that_are_corrected_go_on_moving_with_their_limb():
    """A limb that a map cuts into chains is aligned as one."""
    lowered = rotations.from_rotation_vector([0.0, 0.0, -0.6])
    hanging = drooped(lowered)
    whole = bone_map(RIG, hanging, RetargetRequest())
    limb = next(pair for pair in whole.pairs if "forearm_l" in pair.target)
    request = RetargetRequest(bones=BoneMap((ChainPair(("forearm_l",), ("forearm_l",)),)))
    cut = bone_map(RIG, hanging, request)
    assert len(cut.pairs) == len(whole.pairs) + 1
    assert limb not in cut.pairs
    clips = [retarget_clip(CLIP, RIG, hanging, RetargetRequest(), bones=bones).clip for bones in (whole, cut)]
    np.testing.assert_allclose(
        hanging.skeleton.positions(clips[1].pose), hanging.skeleton.positions(clips[0].pose), atol=1e-9
    )


def drooped(turn):
    """The biped with its left arm turned about its shoulder in the rest pose."""
    from tests.motion.synthetic import BIPED, make_rig

    bones = dict(BIPED)
    shoulder = np.array(bones["arm_l"][1])
    for name in ("forearm_l", "hand_l"):
        parent, at = bones[name]
        bones[name] = (parent, tuple(shoulder + rotations.rotate(turn, np.array(at) - shoulder)))
    return make_rig(bones, seed=2)


@pytest.mark.parametrize(
    ("source", "target", "clip"),
    [
        ("val/quadruped/qs_stag", "val/quadruped/ap2_cat", "Gallop"),
        ("val/humanoid/zombie_2018", "val/humanoid/modular_men_spacesuit", 0),
        ("val/bird/ap2_eagle", "val/bird/w_stellerseagle", 0),
    ],
)
def test_real_rigs(real_rigs, source, target, clip):
    source, target = (load_rig(real_rigs / "rigs" / f"{name}.glb") for name in (source, target))
    which = {"name": clip} if isinstance(clip, str) else {"index": clip}
    chosen = choose_clip(source, **which)
    made = retarget_clip(chosen, source, target, RetargetRequest())
    assert len(made.clip) == len(chosen)
    assert made.clip.loop == chosen.loop
    assert made.confidence > 0.4
    moving = np.ptp(target.mesh.skin(target.skeleton.globals(made.clip.pose)), axis=0).max() / target.size
    assert 0.02 < moving < 3
    assert np.isfinite(made.clip.pose.translations).all()
