"""Types to messages and back; errors to statuses and back; streams that lie are caught."""

from __future__ import annotations

import copy
import hashlib
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from animax import errors, rotations
from animax.assets.rig import Stance
from animax.assets.skeleton import Pose, Skeleton
from animax.errors import OptionError, StreamError
from animax.motion.clip import Clip
from animax.request import Request, RootMode
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import rig_pb2 as rig_pb
from animax.wire.clip import MAX_MESSAGE_BYTES, pack, unpack
from animax.wire.failure import error_of, status_of
from animax.wire.request import animate_request_message, read_animate_request
from animax.wire.rig import facing_stance, read_skeleton, skeleton_message, stance_message
from animax.wire.stream import StreamReader


def random_skeleton(random: np.random.Generator, joints: int) -> Skeleton:
    parents = np.array([-1, *(int(random.integers(0, j)) for j in range(1, joints))])
    turns = Rotation.random(joints, random_state=int(random.integers(2**31))).as_quat()
    rest = Pose(random.normal(size=(joints, 3)), turns, random.uniform(0.5, 2.0, size=(joints, 3)))
    return Skeleton(tuple(f"joint {j} ü" for j in range(joints)), parents, rest)


def random_clip(random: np.random.Generator, skeleton: Skeleton, frames: int) -> Clip:
    joints = len(skeleton)
    turns = Rotation.random(frames * joints, random_state=int(random.integers(2**31))).as_quat()
    turns = turns.reshape(frames, joints, 4)
    still = random.uniform(size=joints) < 0.3
    turns[:, still] = skeleton.rest.rotations[still]
    pose = skeleton.posed(rotations=rotations.make_continuous(turns))
    moving = random.uniform(size=joints) < 0.2
    pose.translations[:, moving] += random.normal(size=(frames, int(moving.sum()), 3))
    return Clip("random", float(random.choice([24, 29.97, 30, 120])), pose)


sizes = st.tuples(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 130))


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_a_skeleton_survives_the_wire(size: tuple[int, int, int]) -> None:
    skeleton = random_skeleton(np.random.default_rng(size[0]), size[1])
    message = rig_pb.Skeleton.FromString(skeleton_message(skeleton).SerializeToString())
    back = read_skeleton(message)
    assert back.names == skeleton.names
    np.testing.assert_array_equal(back.parents, skeleton.parents)
    scale = np.abs(skeleton.rest_globals).max()
    np.testing.assert_allclose(back.rest_globals, skeleton.rest_globals, atol=1e-5 * scale)


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_a_clip_survives_the_wire(size: tuple[int, int, int]) -> None:
    random = np.random.default_rng(size[0])
    skeleton = random_skeleton(random, size[1])
    clip = random_clip(random, skeleton, size[2])
    packed = pack(clip, skeleton)
    messages = list(packed.messages(variant=3))
    assert messages[0].frame_count == 1
    assert [m.first_frame for m in messages] == list(np.cumsum([0, *(m.frame_count for m in messages[:-1])]))
    assert sum(m.frame_count for m in messages) == len(clip)
    assert all(m.first_seconds == m.first_frame / clip.fps for m in messages)
    assert {m.variant for m in messages} == {3}
    back = unpack(packed, skeleton, name="", loop=False)
    # a joint is left at rest when it is within the stated tolerances of it
    np.testing.assert_allclose(rotations.between(back.pose.rotations, clip.pose.rotations), 0, atol=2e-5)
    np.testing.assert_allclose(back.pose.translations, clip.pose.translations, atol=1e-5)
    # the digest as the contract words it, written down independently
    digest = hashlib.sha256()
    for frame in range(len(clip)):
        digest.update(clip.pose.rotations[frame, packed.rotated_joints].astype("<f4").tobytes())
        digest.update(clip.pose.translations[frame, packed.translated_joints].astype("<f4").tobytes())
    assert packed.sha256() == digest.hexdigest()


@pytest.mark.parametrize(("joints", "frames"), [(1, 1), (24, 1200), (2000, 40)])
def test_no_frame_message_is_too_large(joints: int, frames: int) -> None:
    random = np.random.default_rng(0)
    skeleton = random_skeleton(random, joints)
    packed = pack(random_clip(random, skeleton, frames), skeleton)
    assert max(m.ByteSize() for m in packed.messages(0)) <= MAX_MESSAGE_BYTES - 64


@given(
    values=st.tuples(
        st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=80),
        st.floats(0.25, 10),
        st.floats(1, 120),
        st.integers(0, 2**62),
        st.booleans(),
        st.sampled_from(RootMode),
        st.none() | st.floats(1, 15),
        st.none() | st.integers(1, 64),
        st.booleans(),
    )
)
def test_a_request_survives_the_wire(values: Any) -> None:
    request = Request(*values)
    message = animate_request_message("a" * 64, request, variants=2, facing=(1, 0, 0), file_formats=("bvh", "glb"))
    order = read_animate_request(pb.AnimateRequest.FromString(message.SerializeToString()), max_variants=8)
    assert order.request == request
    assert (order.rig_id, order.variants, order.facing) == ("a" * 64, 2, (1.0, 0.0, 0.0))
    assert order.file_formats == (pb.FILE_FORMAT_BVH, pb.FILE_FORMAT_GLB)
    assert order.variant(1).seed == request.seed + 1


@given(st.integers(0, 2**31))
def test_a_facing_is_unit_and_across_the_up_axis(seed: int) -> None:
    random = np.random.default_rng(seed)
    up = random.normal(size=3)
    up /= np.linalg.norm(up)
    own = Stance(np.cross(up, [0.3, 0.5, -0.1]), up, 0.2, "estimated", 0.01)
    facing = random.normal(size=3) * 100
    if abs(facing @ up) > 0.99 * np.linalg.norm(facing):
        return
    stance = facing_stance(own, facing.tolist())
    assert abs(stance.forward @ up) < 1e-9
    assert np.linalg.norm(stance.forward) == pytest.approx(1)
    assert stance.forward @ facing > 0
    assert (stance.source, stance.confidence, stance.scale) == ("override", 1.0, 0.01)
    assert facing_stance(own, []) is own
    assert stance_message(stance).source == rig_pb.STANCE_SOURCE_OVERRIDE


RAISED = [
    errors.OptionError("seconds", 99, "0.25 to 10"),
    errors.AssetError("damaged"),
    errors.UnsupportedAssetError("Draco"),
    errors.RigError("no joint"),
    errors.UnknownRigError("gone"),
    errors.ModelError("altered"),
    errors.EngineError("lost"),
    errors.GenerationError("no motion"),
    errors.Cancelled("stopped"),
    errors.DeadlineExceeded("over"),
    errors.BusyError("full", reason="QUEUE_FULL", retry_after=2.5),
    errors.UnavailableError("warming up", reason="NOT_READY", retry_after=1.0),
    errors.StreamError("stalled", reason="UPLOAD_STALLED", retry_after=0.0),
    errors.UnknownJobError("gone"),
    errors.RequestIdError("used"),
    errors.ResultExpiredError("gone"),
    errors.JobStateError("running", reason="JOB_NOT_DONE", retry_after=2.0),
    errors.DamagedError("altered", reason="RESULT_DAMAGED"),
    errors.UnauthenticatedError("unknown", reason="TOKEN_INVALID"),
    errors.ForbiddenError("no scope", reason="SCOPE_MISSING"),
]
QUOTA = errors.QuotaError("queued", "too many", 2.0)
"""Apart from the others: to clients it is a BusyError whose reason says the rest."""


def call_with(error: Exception) -> Any:
    """What a client's failed call looks like."""
    status = rpc_status.to_status(status_of(error))
    return SimpleNamespace(
        code=lambda: status.code, details=lambda: status.details, trailing_metadata=lambda: status.trailing_metadata
    )


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_what_it_was(error: errors.AnimaxError) -> None:
    back = error_of(call_with(error))
    assert type(back) is type(error)
    assert str(error) in str(back)
    assert getattr(back, "retry_after", None) == getattr(error, "retry_after", None)
    assert getattr(back, "reason", None) == getattr(error, "reason", None)


def test_a_quota_arrives_as_a_full_server_does() -> None:
    back = error_of(call_with(QUOTA))
    assert isinstance(back, errors.BusyError)
    assert (back.reason, back.retry_after) == ("QUOTA_EXCEEDED", 2.0)


def test_every_error_of_animax_has_its_line() -> None:
    """A class that is added to the hierarchy must not reach clients as INTERNAL."""

    def below(kind: type[Exception]) -> list[type[Exception]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))]

    abstract = {errors.AnimaxError, errors.ServiceError}
    for kind in below(errors.AnimaxError):
        if kind in abstract or not kind.__module__.startswith("animax."):
            continue
        made = next((e for e in [*RAISED, QUOTA] if isinstance(e, kind)), None) or kind("x")
        assert status_of(made).code != grpc.StatusCode.INTERNAL.value[0], kind


@pytest.mark.parametrize("text", ["x" * 10_000, "☃" * 10_000, "\x00\n\x1b[31m" * 3000, "𝄞" * 5000])
def test_a_status_stays_small_and_printable(text: str) -> None:
    for error in (OptionError(text, text, text), errors.BusyError(text, reason="QUEUE_FULL", retry_after=1.0)):
        call = call_with(error)
        on_the_wire = len(call.trailing_metadata()[0][1]) * 4 / 3 + 3 * len(call.details().encode())
        assert on_the_wire < 4096
        assert call.details().isprintable()
        assert type(error_of(call)) is type(error)


def test_details_follow_google_rpc() -> None:
    status = status_of(RAISED[0])
    kinds = [detail.TypeName() for detail in status.details]
    assert kinds == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]
    bad = error_details_pb2.BadRequest()
    status.details[1].Unpack(bad)
    assert bad.field_violations[0].field == "seconds"
    assert [d.TypeName() for d in status_of(RAISED[10]).details] == [
        "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo",
        "google.rpc.QuotaFailure",
    ]


def test_an_error_through_a_proxy_that_dropped_the_details() -> None:
    bare = SimpleNamespace(
        code=lambda: grpc.StatusCode.UNAVAILABLE, details=lambda: "connection refused", trailing_metadata=lambda: ()
    )
    error = error_of(bare)
    assert isinstance(error, errors.UnavailableError)
    assert "connection refused" in str(error)


def good_stream() -> list[pb.AnimateResponse]:
    """Two variants with a file each, as the service would send them."""
    random = np.random.default_rng(1)
    skeleton = random_skeleton(random, 5)
    header = pb.Header(
        axes=rig_pb.AXIS_CONVENTION_RIGHT_HANDED_Y_UP_METRES,
        quaternion_order=rig_pb.QUATERNION_ORDER_XYZW,
        skeleton=skeleton_message(skeleton),
        fps=30,
        variants=2,
    )
    stream = [pb.AnimateResponse(header=header), pb.AnimateResponse(progress=pb.Progress(fraction=0.5))]
    summary = pb.Summary()
    for variant in range(2):
        clip = random_clip(random, skeleton, 70)
        packed = pack(Clip(clip.name, 30.0, clip.pose), skeleton)
        content = bytes(random.integers(0, 255, 900, np.uint8))
        joints = {
            "rotated_joints": packed.rotated_joints.tolist(),
            "translated_joints": packed.translated_joints.tolist(),
        }
        stream.append(pb.AnimateResponse(clip_start=pb.ClipStart(variant=variant, frame_count=70, **joints)))
        stream += [pb.AnimateResponse(frames=frames) for frames in packed.messages(variant)]
        for offset in (0, 300, 600):
            part = content[offset : offset + 300]
            chunk = pb.FileChunk(
                variant=variant, format=pb.FILE_FORMAT_GLB, size_bytes=900, offset=offset, content=part
            )
            stream.append(pb.AnimateResponse(file_chunk=chunk))
        file = pb.FileSummary(format=pb.FILE_FORMAT_GLB, size_bytes=900, sha256=hashlib.sha256(content).hexdigest())
        summary.clips.append(
            pb.ClipSummary(variant=variant, frame_count=70, frames_sha256=packed.sha256(), files=[file])
        )
    return [*stream, pb.AnimateResponse(summary=summary)]


GOOD = good_stream()
ESSENTIAL = [index for index, message in enumerate(GOOD) if not message.HasField("progress")]


def read(stream: list[pb.AnimateResponse]) -> Any:
    reader = StreamReader()
    for message in stream:
        reader.feed(message)
    return reader.result()


def test_a_good_stream_is_accepted() -> None:
    result = read([*GOOD[:4], pb.AnimateResponse(), *GOOD[4:]])  # an event of a later version is passed over
    assert [len(clip) for clip in result.clips] == [70, 70]
    assert [len(files["glb"]) for files in result.files] == [900, 900]


@given(st.sampled_from(ESSENTIAL), st.sampled_from(ESSENTIAL), st.sampled_from(["drop", "repeat", "swap", "cut"]))
@settings(max_examples=400, deadline=None)
def test_a_stream_with_anything_missing_twice_or_out_of_order_is_refused(one: int, other: int, way: str) -> None:
    stream = list(GOOD)
    if way == "drop":
        del stream[one]
    elif way == "repeat":
        stream.insert(other, stream[one])
    elif way == "swap":
        if one == other:
            return
        stream[one], stream[other] = stream[other], stream[one]
    else:
        stream = stream[:one]
    with pytest.raises(StreamError):
        read(stream)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_stream_with_a_changed_number_is_refused(data: st.DataObject) -> None:
    stream = copy.deepcopy(GOOD)
    index = data.draw(st.sampled_from([i for i, m in enumerate(stream) if m.HasField("frames")]))
    frames = stream[index].frames
    place = data.draw(st.integers(0, len(frames.rotations) - 1))
    frames.rotations[place] = data.draw(st.floats(-1, 1, width=32).filter(lambda v: v != frames.rotations[place]))
    with pytest.raises(StreamError):
        read(stream)
