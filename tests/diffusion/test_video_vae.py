"""The pipeline behind a video VAE that loses nothing: true coloured pose maps come back as the motion that went in."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from animax import rotations
from animax.assets import load_rig
from animax.assets.markers import choose_markers
from animax.diffusion.model import Model
from animax.diffusion.sampler import Sample, Schedule, Take
from animax.diffusion.text import TextEncoder
from animax.diffusion.umt5 import PieceEncoder
from animax.diffusion.video_vae import VideoSpace
from animax.errors import EngineError, ModelError
from animax.interactive import Performance
from animax.motion.control import resolve
from animax.motion.steering import Steering
from animax.pipeline import VIEW_SIZE, animate
from animax.procedural import generate
from animax.request import JointMask, PoseSource, Request
from animax.views.camera import ROOM, template_cameras
from animax.views.rgb import RADIUS, RgbPoseMap
from tests.stand_in import FPS, model_of

SIZE, PATCH, FRAMES, HISTORY = 64, 4, 17, 3
SLOTS = 1 + (FRAMES - 1) // PATCH
CHANNELS, CELLS = 3 * PATCH * 64, SIZE // 8


def encoded(video):
    """Latents (S, C, y, x) of frames (F, 3, H, W) in [−1, 1]: 8 × 8 × 4 pixels a cell, the first frame fourfold."""
    slots = np.concatenate([np.repeat(video[:1], PATCH, axis=0), video[1:]]).reshape(-1, PATCH, 3, CELLS, 8, CELLS, 8)
    return slots.transpose(0, 1, 2, 4, 6, 3, 5).reshape(-1, CHANNELS, CELLS, CELLS)


def decoded(latents):
    slots = latents.reshape(-1, PATCH, 3, 8, 8, CELLS, CELLS).transpose(0, 1, 2, 5, 3, 6, 4)
    return slots.reshape(-1, 3, SIZE, SIZE)[PATCH - 1 :]


class Graph:
    """A coder in the place of an ONNX graph."""

    def __init__(self, name, code, inputs, outputs):
        self.name, self.code, self.calls = name, code, 0
        (self.input, shape), (self.output, made) = inputs, outputs
        self.inputs, self.outputs = {self.input: ("batch", *shape)}, {self.output: ("batch", *made)}

    def __call__(self, **values):
        (video,) = values.values()
        assert video.shape == (1, *self.inputs[self.input][1:])
        self.calls += 1
        return [np.moveaxis(self.code(np.moveaxis(video[0], 0, 1)), 0, 1)[None].astype(np.float32)]


def graphs(frames=FRAMES, history=HISTORY):
    begun = ("pictures", (3, 1 + (history - 1) * PATCH, SIZE, SIZE)), ("latents", (CHANNELS, history, CELLS, CELLS))
    window = ("latents", (CHANNELS, SLOTS, CELLS, CELLS)), ("pictures", (3, frames, SIZE, SIZE))
    return Graph("vae_encoder", encoded, *begun), Graph("vae_decoder", decoded, *window)


CODEC = RgbPoseMap(SIZE, RADIUS * SIZE)


def model(denoiser, steps=2):
    schedule = Schedule(steps, 1.0, frames=FRAMES, patch=PATCH, history=HISTORY, packed=True)
    manifest = replace(model_of(denoiser).manifest, room=ROOM)
    return Model(manifest, "cpu", VideoSpace(CODEC, *graphs()), schedule, denoiser, TextEncoder())


def true_maps(rig, pose):
    """(V, F, 3, H, W) levels."""
    markers = choose_markers(rig, CODEC.colours)
    cameras = template_cameras(rig, size=VIEW_SIZE)
    points, depths = cameras.project(markers.positions(rig.skeleton.globals(pose)))
    return CODEC.draw(points, depths, markers, VIEW_SIZE)


@dataclass
class TrueMaps:
    """A denoiser that knows the answer, window by window, and checks what it is given of it."""

    maps: np.ndarray
    begins: list
    steps: int = 2
    clean: list = field(default_factory=list)

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        assert pose.shape == (1, 4, SLOTS, CHANNELS, CELLS, CELLS)
        assert rays.shape == (1, 4, 6, CELLS, CELLS)
        begin = self.begins[min(len(self.clean) // self.steps, len(self.begins) - 1)]
        frames = np.minimum(begin + np.arange(FRAMES), self.maps.shape[1] - 1)
        true = np.stack([encoded(view[frames] * 2 - 1) for view in self.maps])
        given = sigma[0] == 0
        self.clean.append(given)
        if begin:  # what a window goes on from was encoded anew, as the beginning of a clip
            np.testing.assert_allclose(pose[0][:, given], true[:, given], atol=1e-5)
        return np.zeros_like(rgb), true[None].astype(np.float32)


@pytest.fixture(scope="module")
def rig():
    return load_rig(generate("fish", motions=False))


@pytest.fixture(scope="module")
def truth(rig):
    """25 frames in which every driver nods by its own angle and phase."""
    random = np.random.default_rng(0)
    drivers = choose_markers(rig, CODEC.colours).drivers
    turn = np.zeros((25, len(rig.skeleton), 3))
    phase = np.arange(25)[:, None, None] / 16 + random.random((1, len(drivers), 1))
    turn[:, drivers] = 0.15 * np.sin(2 * np.pi * phase) * random.standard_normal((1, len(drivers), 3))
    local = rotations.multiply(rig.skeleton.rest.rotations, rotations.from_rotation_vector(turn))
    return rig.skeleton.posed(rotations=local)


def off(rig, made, truth):
    """Mean joint error in rig sizes."""
    error = rig.skeleton.positions(made) - rig.skeleton.positions(truth)
    return np.linalg.norm(error, axis=-1).mean() / rig.size


def test_true_pose_maps_come_back_as_the_motion_over_two_windows(rig, truth):
    denoiser = TrueMaps(true_maps(rig, truth), [0, 8])
    made = animate(rig, Request("x", seconds=1.5, fps=FPS, foot_cleanup=False), model(denoiser))
    assert len(made.clip) == 25
    assert [int(clean.sum()) for clean in denoiser.clean] == [0, 0, HISTORY, HISTORY]
    assert off(rig, made.clip.pose, truth) < 0.015
    assert made.confidence > 0.4
    assert made.residual < 0.005


def test_a_loop_is_decoded_as_a_circle(rig, truth, tmp_path):
    still = TrueMaps(true_maps(rig, truth[5:6]), [0])
    request = Request("x", seconds=1.2, fps=FPS, loop=True, foot_cleanup=False)  # 5 slots of a window of 5
    made = animate(rig, request, model(still), debug=tmp_path)
    assert made.clip.loop
    assert off(rig, made.clip.pose, truth[np.full(len(made.clip), 5)]) < 0.02
    assert (tmp_path / "pose.mp4").is_file()


def test_pinned_poses_are_given_for_their_slot_and_masks_are_left_to_the_network(rig, truth):
    denoiser = TrueMaps(true_maps(rig, truth), [0])
    mask = JointMask((rig.skeleton.names[choose_markers(rig, CODEC.colours).drivers[-1]],))
    request = Request("x", seconds=1.0, fps=FPS, first_pose=PoseSource(), last_pose=PoseSource(), joint_mask=mask)
    made = animate(rig, request, model(denoiser)).clip.pose
    assert list(denoiser.clean[0]) == [True, False, False, False, True]
    rest = rig.skeleton.rest.rotations
    kept = resolve(rig, request).kept
    assert rotations.between(made.rotations, rest)[:, kept].max() < 1e-7
    assert rotations.between(made.rotations, rest)[:, ~kept].max() > 0.02
    assert rotations.between(made.rotations[[0, -1]], rest).max() < 1e-7


def test_a_performance_goes_on(rig, truth):
    denoiser = TrueMaps(true_maps(rig, truth), [0, 8])
    stage = Performance(rig, Request("x", fps=FPS), model(denoiser))
    stage.generate("walks")
    stage.generate("walks")
    assert [int(clean.sum()) for clean in denoiser.clean] == [0, 0, HISTORY, HISTORY]
    stage.finish()
    assert len(stage.take(100, Steering()).rotations) == 25


def test_frames_are_coded_as_the_beginning_of_a_clip():
    space, random = VideoSpace(CODEC, *graphs()), np.random.default_rng(0)
    video = random.random((1, 2, FRAMES, 3, SIZE, SIZE)).astype(np.float32)  # one view of two windows
    takes = [
        Take(Sample(latents, latents), begin, end)
        for window, begin, end in ((0, 0, 6), (1, 5, 9))
        for latents in [encoded(video[0, window] * 2 - 1)[None]]
    ]
    clip = np.concatenate([video[0, 0, 0:6], video[0, 1, 5:9]])
    np.testing.assert_allclose(space.maps(takes)[0], clip, atol=1e-6)
    for count in (1, 5, 9):
        made = space.latest(takes, count)
        np.testing.assert_allclose(made.pose[0], encoded(clip[-count:] * 2 - 1), atol=1e-5)
    held = space.encode(None, video[:, 0, :1], held=True)
    assert not held.rgb.any()
    np.testing.assert_allclose(held.pose[0, 0], encoded(np.repeat(video[0, 0, :1], 5, axis=0) * 2 - 1)[1], atol=1e-5)


@pytest.mark.parametrize("length", [2, 4, 5, 11])
def test_circles_of_any_length_are_decoded(length):
    space = VideoSpace(CODEC, *graphs())
    frames = np.random.default_rng(0).random((PATCH * length, 3, SIZE, SIZE)).astype(np.float32)
    latents = encoded(np.concatenate([frames[:1], frames]) * 2 - 1)[None, 1:]  # slots of four frames alone
    take = Take(Sample(latents, latents), 0, PATCH * length, loop=True)
    np.testing.assert_allclose(space.maps([take])[0], frames, atol=1e-6)
    assert space.pictures([take]).shape == (1, PATCH * length, SIZE, SIZE, 3)


def test_graphs_that_do_not_fit_are_named():
    with pytest.raises(ModelError, match=r"vae_decoder from .* accepted"):
        VideoSpace(CODEC, *graphs(frames=18))
    with pytest.raises(ModelError, match="accepted: colours, frames, 48 and 48 pixels"):
        VideoSpace(CODEC.resized(48), *graphs())
    encoder, decoder = graphs()
    encoder.inputs = {"pictures": ("batch", 3, "frames", SIZE, SIZE)}
    with pytest.raises(ModelError, match="all but the batch fixed"):
        VideoSpace(CODEC, encoder, decoder)


def test_without_tokenizers_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(EngineError, match=r"animax\[large\]"):
        PieceEncoder(None, tmp_path / "tokenizer.json")
