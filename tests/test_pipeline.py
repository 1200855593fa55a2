"""The pipeline with a denoiser that answers with true pose maps: what comes out is the motion that went in."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from animax import rotations
from animax.assets import load_rig, read_clips
from animax.assets.markers import choose_markers
from animax.diffusion.repertoire import STEPS, Repertoire
from animax.diffusion.text import TextEncoder
from animax.errors import Cancelled
from animax.motion.control import resolve
from animax.pipeline import animate, make_template
from animax.procedural import generate
from animax.request import JointMask, PinnedPose, PoseSource, Progress, PromptChange, Request, RootMode, Stage
from animax_engine.dataset.cycles import Cycle
from animax_engine.dataset.repertoire import parts_of
from tests.stand_in import FPS, model_of, true_maps


@dataclass
class TrueMaps:
    """A denoiser that knows the answer: the pose maps of ``pose``."""

    rig: object
    pose: object
    calls: list = field(default_factory=list)

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        self.calls.append(sigma)
        return np.zeros_like(rgb), np.repeat(true_maps(self.rig, self.pose)[None], len(pose), axis=0)


@pytest.fixture(scope="module")
def rig():
    return load_rig(generate("quadruped", seed=1))


@pytest.fixture(scope="module")
def truth(rig):
    """33 frames in which every driver nods by its own angle and phase."""
    random = np.random.default_rng(0)
    drivers = choose_markers(rig, 64).drivers
    turn = np.zeros((33, len(rig.skeleton), 3))
    phase = np.arange(33)[:, None, None] / 16 + random.random((1, len(drivers), 1))
    turn[:, drivers] = 0.25 * np.sin(2 * np.pi * phase) * random.standard_normal((1, len(drivers), 3))
    local = rotations.multiply(rig.skeleton.rest.rotations, rotations.from_rotation_vector(turn))
    return rig.skeleton.posed(rotations=local)


REQUEST = Request("anything", seconds=2.0, fps=FPS, foot_cleanup=False)


def test_true_pose_maps_come_back_as_the_motion(rig, truth):
    made = animate(rig, REQUEST, model_of(TrueMaps(rig, truth)))
    error = rig.skeleton.positions(made.clip.pose) - rig.skeleton.positions(truth)
    assert len(made.clip) == 33
    assert np.linalg.norm(error, axis=-1).mean() < 0.01 * rig.size
    assert made.confidence > 0.95
    assert made.residual < 0.005
    np.testing.assert_allclose(np.linalg.norm(made.clip.pose.rotations, axis=-1), 1, atol=1e-9)
    assert np.all(np.sum(made.clip.pose.rotations[1:] * made.clip.pose.rotations[:-1], axis=-1) >= 0)


def repertoire_of(rig, pose, prompt):
    """One clip of one rig, which turns round in 16 frames."""
    markers = choose_markers(rig, 64)
    points = rig.to_body(markers.positions(rig.skeleton.globals(pose)))
    rest = rig.to_body(markers.positions(rig.skeleton.rest_globals))
    parts = parts_of(points - rest, Cycle(True, 16.0))
    scale = np.abs(parts).max() / STEPS
    state = TextEncoder().encode([prompt])[0, :1]
    return Repertoire(
        text=state / np.linalg.norm(state),
        told=np.zeros(1, int),
        anywhere=np.zeros(1, bool),
        rest=rest.astype(np.float32),
        ends=np.array([len(rest)]),
        kind=np.zeros(1, int),
        body=np.zeros(1, int),
        repeats=np.ones(1, bool),
        period=np.array([16], np.float32),
        scale=np.array([scale], np.float32),
        parts=np.rint(parts / scale).astype(np.int8).reshape(-1, 3),
    )


@pytest.mark.parametrize("loop", [False, True])
def test_what_is_planned_reaches_the_network_and_comes_back_as_the_motion(rig, truth, loop):
    """The rig's own clip, looked up by what it is called."""

    def denoiser(rgb, pose, template_rgb, template_pose, sigma, text, rays, clock, plan):
        assert clock.shape[:2] == sigma.shape
        return np.zeros_like(rgb), plan

    model = replace(model_of(denoiser), repertoire=repertoire_of(rig, truth, "nods about"))
    made = animate(rig, replace(REQUEST, prompt="it nods about", loop=loop), model)
    wanted = rig.skeleton.positions(truth)[: len(made.clip)]
    moved = np.linalg.norm(wanted - wanted.mean(axis=0), axis=-1).mean()
    error = np.linalg.norm(rig.skeleton.positions(made.clip.pose) - wanted, axis=-1).mean()
    assert error < 0.2 * moved
    assert not made.warnings
    unheard = animate(rig, replace(REQUEST, prompt="the square root of yellow"), model)
    assert any("names no motion" in warning for warning in unheard.warnings)


@pytest.mark.parametrize(("seconds", "fps", "frames"), [(2.0, 30.0, 61), (1.0, 24.0, 25), (0.25, 60.0, 16)])
def test_length_and_rate_are_as_asked(rig, truth, seconds, fps, frames):
    made = animate(rig, Request("x", seconds=seconds, fps=fps), model_of(TrueMaps(rig, truth)))
    assert len(made.clip) == frames
    assert made.clip.fps == fps


def test_longer_clips_take_more_windows(rig, truth):
    denoiser = TrueMaps(rig, truth)
    made = animate(rig, Request("x", seconds=5.0, fps=10.0), model_of(denoiser))
    assert len(made.clip) == 51
    assert len(denoiser.calls) == 2 * 3


def test_a_loop_has_no_seam(rig, truth):
    made = animate(rig, Request("x", seconds=1.5, fps=FPS, loop=True), model_of(TrueMaps(rig, truth)))
    heads = rig.skeleton.positions(made.clip.pose)
    steps = np.linalg.norm(np.diff(heads, axis=0), axis=-1).max(axis=1)
    assert made.clip.loop
    assert np.linalg.norm(heads[0] - heads[-1], axis=-1).max() <= steps.max() * 1.001


@pytest.mark.parametrize("mode", list(RootMode))
def test_every_root_mode_gives_finite_motion(rig, truth, mode):
    made = animate(rig, Request("x", root_mode=mode), model_of(TrueMaps(rig, truth)))
    assert np.isfinite(rig.skeleton.positions(made.clip.pose)).all()


def test_progress_never_falls_and_names_every_stage(rig, truth):
    heard: list[Progress] = []
    made = animate(rig, REQUEST, model_of(TrueMaps(rig, truth)), progress=heard.append)
    fractions = [p.fraction for p in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert list(dict.fromkeys(p.stage for p in heard)) == list(Stage)
    assert [(p.step, p.steps) for p in heard if p.step] == [(1, 2), (2, 2)]
    assert set(made.timings) == {stage.value for stage in Stage}


@pytest.mark.parametrize("after", range(8))
def test_stopping_is_heard_between_all_stages(rig, truth, after):
    asked = []

    def stop():
        asked.append(True)
        return len(asked) > after

    with pytest.raises(Cancelled):
        animate(rig, REQUEST, model_of(TrueMaps(rig, truth)), should_stop=stop)
    assert len(asked) == after + 1


def test_debug_pictures_are_written(rig, truth, tmp_path):
    import cv2

    animate(rig, REQUEST, model_of(TrueMaps(rig, truth)), debug=tmp_path)
    for name in ("template_rgb.png", "template_pose.png", "rgb.png", "pose.png"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture is not None
        assert picture.std() > 0


@pytest.mark.parametrize("loop", [False, True])
def test_pinned_poses_are_exact_in_the_clip(rig, truth, loop):
    clip = read_clips(rig)[0]
    pose = PoseSource(clip.name, 0.25)
    request = Request(
        "x",
        seconds=3.0,
        loop=loop,
        first_pose=pose,
        pinned_poses=(PinnedPose(1.5, PoseSource()),),
        root_mode="root_motion",
    )
    made = animate(rig, request, model_of(TrueMaps(rig, truth))).clip
    controls = resolve(rig, request)
    for frame, (_, pinned) in zip(controls.pinned_frames(len(made), made.fps), controls.pins, strict=True):
        np.testing.assert_array_equal(
            rotations.to_matrix(made.pose.rotations[frame]), rotations.to_matrix(pinned.rotations)
        )


def test_the_sampler_gets_the_pinned_poses_and_the_kept_joints(rig, truth):
    denoiser = TrueMaps(rig, truth)
    names = [rig.skeleton.names[j] for j in choose_markers(rig, 64).drivers]
    mask = JointMask((names[-1],))
    made = animate(rig, Request("x", first_pose=PoseSource(), joint_mask=mask), model_of(denoiser))
    assert denoiser.calls[0][0, 0] == 0
    assert np.all(denoiser.calls[0][0, 1:] > 0)
    chosen = ~resolve(rig, made.request).kept
    rest = rig.skeleton.rest.rotations
    assert rotations.between(made.clip.pose.rotations, rest)[:, ~chosen].max() < 1e-7
    assert rotations.between(made.clip.pose.rotations, rest)[:, chosen].max() > 0.05


def test_a_change_of_prompt_is_told_to_the_network_from_its_frame_on(rig, truth):
    heard = []

    class Listening(TrueMaps):
        def __call__(self, *given):
            heard.append(given[5][0])
            return super().__call__(*given)

    request = Request("walks", seconds=2.0, prompt_changes=(PromptChange(1.0, "sleeps"),))
    animate(rig, request, model_of(Listening(rig, truth)))
    walks, sleeps = TextEncoder().encode(["walks", "sleeps"])
    assert [np.array_equal(text, walks) for text in heard] == [True, True, False, False]
    assert all(np.array_equal(text, sleeps) for text in heard[2:])


def test_the_views_show_as_much_room_as_the_model_was_trained_on(rig):
    widths = []
    for room in (1.2, 1.5):
        stand_in = model_of(None)
        template = make_template(rig, replace(stand_in, manifest=replace(stand_in.manifest, room=room)))
        points, _ = template.cameras.project(template.markers.positions(rig.skeleton.rest_globals)[None])
        widths.append(np.ptp(points, axis=2))
    assert np.all(widths[1] < widths[0])
