"""The whole product: a server in a process of its own, the embedded model, a rig, a stream."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from animax.assets import Rig, load_rig, read_clips
from animax.client import Client
from animax.motion.clip import Clip
from animax.request import Request
from animax.v1 import animation_service_pb2 as pb

from .engines import in_blender, in_godot, joint_difference

REQUEST = Request("walks forward", seconds=1.5, fps=24.0, seed=3)
START_SECONDS = 120.0
MODEL = os.environ.get("ANIMAX_TEST_MODEL", "embedded")
"""Another model, or its folder, to try these tests on."""


@pytest.fixture(scope="module")
def source(repository: Path) -> Path:
    return repository / "examples" / "quadruped.glb"


@pytest.fixture(scope="module")
def rig(source: Path) -> Rig:
    return load_rig(source)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "animax", "serve", "--port", "0", "--model", MODEL, "--provider", "cpu"]
    command += ["--data", str(log.parent / "data")]
    with log.open("w") as stderr, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as server:
        try:
            told = server.stdout.readline()
            assert told.startswith("listening on "), log.read_text()
            wait_until_serving(told.split()[-1])
            yield told.split()[-1]
        finally:
            server.terminate()
            assert server.wait(timeout=60) == 0, log.read_text()


def wait_until_serving(address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while health.Check(health_pb2.HealthCheckRequest()).status != health_pb2.HealthCheckResponse.SERVING:
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.05)


@dataclass(frozen=True, eq=False)
class Stream:
    """What came over the wire, as it came."""

    events: list[object]

    def only(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def header(self) -> pb.Header:
        return self.only(pb.Header)[0]

    @property
    def rotations(self) -> NDArray[np.float64]:
        """(F, R, 4)"""
        return np.concatenate([np.reshape(f.rotations, (f.frame_count, -1, 4)) for f in self.only(pb.Frames)])

    @property
    def translations(self) -> NDArray[np.float64]:
        """(F, T, 3)"""
        return np.concatenate([np.reshape(f.translations, (f.frame_count, -1, 3)) for f in self.only(pb.Frames)])

    @property
    def glb(self) -> bytes:
        return b"".join(chunk.content for chunk in self.only(pb.FileChunk) if chunk.format == pb.FILE_FORMAT_GLB)


@pytest.fixture(scope="module")
def stream(address: str, source: Path) -> Stream:
    with Client(address) as client:
        uploaded = client.upload(source)
        with client.animate(uploaded.rig_id, REQUEST, files=("glb",)) as events:
            return Stream(list(events))


@pytest.fixture(scope="module")
def written(stream: Stream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streamed") / "streamed.glb"
    path.write_bytes(stream.glb)
    return path


@pytest.fixture(scope="module")
def clip(written: Path) -> Clip:
    return next(clip for clip in read_clips(load_rig(written), fps=REQUEST.fps) if clip.name == REQUEST.prompt)


def test_the_stream_is_whole_and_in_order(stream: Stream):
    kinds = [type(event).__name__ for event in stream.events if not isinstance(event, pb.Progress)]
    assert kinds[:3] == ["Header", "ClipStart", "Frames"]
    assert kinds[-1] == "Summary"
    assert kinds.count("Header") == kinds.count("ClipStart") == kinds.count("Summary") == 1
    frames = stream.only(pb.Frames)
    assert frames[0].frame_count == 1
    assert [f.first_frame for f in frames] == np.cumsum([0, *(f.frame_count for f in frames[:-1])]).tolist()
    assert sum(f.frame_count for f in frames) == stream.only(pb.ClipStart)[0].frame_count == 37
    np.testing.assert_allclose([f.first_seconds for f in frames], [f.first_frame / REQUEST.fps for f in frames])


def test_progress_rises_to_the_end_through_every_stage(stream: Stream):
    progress = stream.only(pb.Progress)
    fractions = [p.fraction for p in progress]
    assert fractions == sorted(fractions)
    assert {p.stage for p in progress} >= {pb.STAGE_DENOISE}
    steps = [p.step for p in progress if p.stage == pb.STAGE_DENOISE and p.step]
    assert steps == sorted(steps)


def test_the_header_describes_the_rig_as_this_process_reads_it(stream: Stream, rig: Rig):
    header = stream.header
    assert header.rig_id == rig.sha256
    assert tuple(header.skeleton.names) == rig.skeleton.names
    assert list(header.skeleton.parents) == rig.skeleton.parents.tolist()
    assert (header.prompt, header.seed, header.fps) == (REQUEST.prompt, REQUEST.seed, REQUEST.fps)


def test_the_rig_moves(stream: Stream):
    """Nothing below means much if it does not."""
    turned = np.abs(np.sum(stream.rotations * stream.rotations[:1], axis=-1)).min()
    assert np.degrees(2 * np.arccos(min(turned, 1.0))) > 5


def test_quaternions_are_unit_and_sign_continuous(stream: Stream):
    np.testing.assert_allclose(np.linalg.norm(stream.rotations, axis=-1), 1.0, atol=1e-5)
    assert np.all(np.sum(stream.rotations[1:] * stream.rotations[:-1], axis=-1) >= 0)


def forward_kinematics(stream: Stream) -> NDArray[np.float64]:
    """(F, J, 3) from nothing but the messages, by the schoolbook."""
    from scipy.spatial.transform import Rotation

    skeleton, start = stream.header.skeleton, stream.only(pb.ClipStart)[0]
    joints = len(skeleton.names)
    frames = len(stream.rotations)
    rotations = np.repeat(np.reshape(skeleton.rest_rotations, (1, joints, 4)), frames, axis=0)
    translations = np.repeat(np.reshape(skeleton.rest_translations, (1, joints, 3)), frames, axis=0)
    scales = np.reshape(skeleton.rest_scales, (joints, 3))
    rotations[:, list(start.rotated_joints)] = stream.rotations
    translations[:, list(start.translated_joints)] = stream.translations
    world = np.zeros((frames, joints, 4, 4))
    for joint, parent in enumerate(skeleton.parents):
        local = np.zeros((frames, 4, 4))
        local[:, :3, :3] = Rotation.from_quat(rotations[:, joint]).as_matrix() * scales[joint]
        local[:, :3, 3] = translations[:, joint]
        local[:, 3, 3] = 1
        world[:, joint] = local if parent < 0 else world[:, parent] @ local
    return world[:, :, :3, 3]


def test_streamed_rotations_put_the_joints_where_the_server_s_file_has_them(stream: Stream, rig: Rig, clip: Clip):
    theirs = rig.skeleton.positions(clip.pose)
    assert np.abs(forward_kinematics(stream) - theirs).max() < 1e-4


def test_the_file_arrives_as_the_summary_says(stream: Stream):
    (told,) = stream.only(pb.Summary)[0].clips[0].files
    assert (told.size_bytes, told.sha256) == (len(stream.glb), hashlib.sha256(stream.glb).hexdigest())


def test_the_same_seed_gives_the_same_frames_and_another_one_others(stream: Stream, address: str, source: Path):
    with Client(address) as client:
        rig_id = client.upload(source).rig_id
        again = client.animate(rig_id, REQUEST).collect().summary.clips[0]
        other = client.animate(rig_id, Request(**{**REQUEST.as_dict(), "seed": 4})).collect().summary.clips[0]
    first = stream.only(pb.Summary)[0].clips[0]
    assert again.frames_sha256 == first.frames_sha256
    assert other.frames_sha256 != first.frames_sha256


@pytest.mark.parametrize("where", ["in process", "on the server"])
def test_the_command_line_makes_the_same_clip(where, clip, rig, source, address, tmp_path):
    out = tmp_path / "made.glb"
    command = [sys.executable, "-m", "animax", "animate", str(source), REQUEST.prompt, "-o", str(out), "--json"]
    command += ["--seconds", str(REQUEST.seconds), "--fps", str(REQUEST.fps), "--seed", str(REQUEST.seed)]
    command += ["--server", address] if where == "on the server" else ["--model", MODEL, "--provider", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["clips"][0]["files"] == [str(out)]
    made = next(c for c in read_clips(load_rig(out), fps=REQUEST.fps) if c.name == REQUEST.prompt)
    difference = rig.skeleton.positions(made.pose) - rig.skeleton.positions(clip.pose)
    assert np.abs(difference).max() < 1e-4


def test_blender_agrees(rig, clip, written, blender_python, tmp_path):
    frames = np.linspace(0, len(clip) - 1, 6).astype(int)
    seen = in_blender(blender_python, written, clip.name, clip.times[frames], tmp_path)
    assert joint_difference(rig, clip, frames, seen) < 1e-3


def test_godot_agrees(rig, clip, written, program: Callable[[str, str], str], tmp_path):
    frames = np.linspace(0, len(clip) - 1, 6).astype(int)
    godot = program("godot3-server", "Debian and Ubuntu: apt install godot3-server")
    seen = in_godot(godot, written, clip.name, clip.times[frames], clip.fps, tmp_path)
    assert joint_difference(rig, clip, frames, seen) < 1e-3
