"""What fuzzers call with bytes of theirs: each target takes any bytes, and raises nothing but what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from animax.assets import load_rig, read_clips
from animax.errors import AnimaxError, AssetError, RigError
from animax.service.incoming import IncomingFile
from animax.service.jobs.messages import check_job_id, check_labels, read_create_request, read_filter
from animax.service.jobs.page_token import read_page_token
from animax.service.models import ServedModels
from animax.service.web.frames import Base64Reader, FrameReader, Refused
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import retarget_service_pb2 as retarget_pb
from animax.v1 import rig_pb2 as rig_pb
from animax.wire.failure import MalformedMessage, status_of
from animax.wire.interactive import read_opening
from animax.wire.request import check_rig_id, read_animate_request
from animax.wire.retarget import read_map_request, read_retarget_request
from animax.wire.rig import read_skeleton
from animax.wire.stream import StreamReader
from tests.assets.glb_builder import arm, pack, split
from tests.service.chain_glb import chain_glb
from tests.service.engine import FakeModel

MODELS = ServedModels([FakeModel()])
MAX_MESSAGE = 4096
MAX_STATUS = 4096


def glb(data: bytes) -> str:
    """A file of a rig. Of data that begins with an odd byte the rest is JSON and, after a zero, the binary chunk, so
    that a fuzzer need not find lengths that fit."""
    if data[:1] and data[0] % 2:
        text, _, binary = data[1:].partition(b"\0")
        data = pack(text, binary)
    else:
        data = data[1:]
    try:
        rig = load_rig(data)
        read_clips(rig, 30)
    except (AssetError, RigError) as error:
        if len(str(error)) > 500:
            raise ValueError("a message of so many characters") from error
        return type(error).__name__
    return "read"


def web_frames(data: bytes) -> str:
    """A body of gRPC-Web that comes in pieces: as text if the first byte is odd, cut after as many bytes as the second
    says."""
    text, size, body = data[:1] > b"" and data[0] % 2 == 1, max(1, (data[1] if len(data) > 1 else 1)), data[2:]
    frames, base64 = FrameReader(MAX_MESSAGE), Base64Reader()
    messages = 0
    try:
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            frames.feed(base64.feed(piece) if text else piece)
            while (message := frames.next()) is not None:
                assert len(message) <= MAX_MESSAGE
                messages += 1
        base64.end()
        frames.end()
    except (MalformedMessage, Refused) as error:
        return type(error).__name__
    return "read"


def stream(data: bytes) -> str:
    """A stream as a client reads it: messages of ``AnimateResponse``, each after two bytes of its length."""
    reader = StreamReader()
    try:
        while data:
            size = int.from_bytes(data[:2], "big")
            reader.feed(pb.AnimateResponse.FromString(data[2 : 2 + size]))
            data = data[2 + size :]
        reader.result()
    except DecodeError:
        return "DecodeError"
    except AnimaxError as error:
        return type(error).__name__
    return "read"


READERS: tuple[tuple[type[Any], Callable[[Any], object]], ...] = (
    (pb.AnimateRequest, lambda message: read_animate_request(message, 8)),
    (pb.AnimateInteractiveOpening, read_opening),
    (rig_pb.Skeleton, read_skeleton),
    (asset_pb.HasAssetRequest, lambda message: check_rig_id(message.rig_id)),
    (asset_pb.UploadAssetChunkRequest, lambda m: IncomingFile(m.declaration).place(m.offset, m.chunk)),
    (job_pb.CreateAnimationJobRequest, lambda message: read_create_request(message, 8, MODELS)),
    (job_pb.GetJobRequest, lambda message: check_job_id(message.job_id)),
    (job_pb.ListJobsRequest, lambda message: read_page_token(message.page_token, read_filter(message))),
    (job_pb.CreateAnimationJobRequest, lambda message: check_labels(message.labels)),
    (retarget_pb.RetargetRequest, read_retarget_request),
    (retarget_pb.MapBonesRequest, read_map_request),
)


def orders(data: bytes) -> str:
    """A message of one of the requests, as the first byte says, read as the server reads it."""
    kind, read = READERS[data[0] % len(READERS) if data else 0]
    try:
        message = kind.FromString(data[1:])
    except DecodeError:
        return "DecodeError"
    try:
        read(message)
    except AnimaxError as error:
        status = status_of(error)
        assert status.ByteSize() <= MAX_STATUS
        assert all(character.isprintable() for character in status.message)
        return type(error).__name__
    return "read"


TARGETS: dict[str, Callable[[bytes], str]] = {
    "glb": glb, "web_frames": web_frames, "stream": stream, "orders": orders,
}  # fmt: skip


def seeds(target: str) -> list[bytes]:
    """Inputs to begin from: those that are read."""
    if target == "glb":
        found = []
        for content in (arm().bytes(), chain_glb(3)):
            root, binary, _ = split(content)
            import json

            found += [b"\0" + content, b"\1" + json.dumps(root).encode() + b"\0" + (binary or b"")]
        return found
    if target == "web_frames":
        return [b"\0\3" + b"\0\0\0\0\2ab" * 2, b"\1\5AAAAAAJhYg==AAAAAAA="]
    if target == "stream":
        messages = [pb.AnimateResponse(header=pb.Header(variants=1)), pb.AnimateResponse(frames=pb.Frames())]
        return [b"".join(len(m.SerializeToString()).to_bytes(2, "big") + m.SerializeToString() for m in messages)]
    order = pb.AnimateRequest(rig_id="a" * 64, prompt="walks", seconds=2, fps=30, variants=1)
    wholes: list[Any] = [
        order,
        pb.AnimateInteractiveOpening(rig_id="a" * 64, prompt="walks"),
        rig_pb.Skeleton(names=["root"], parents=[-1], rest_translations=[0, 0, 0], rest_rotations=[0, 0, 0, 1]),
        asset_pb.HasAssetRequest(rig_id="a" * 64),
        asset_pb.UploadAssetChunkRequest(upload_id="u", chunk=b"glTF"),
        job_pb.CreateAnimationJobRequest(animation=order, request_id="r", labels={"shot": "7"}),
        job_pb.GetJobRequest(job_id="a" * 32),
        job_pb.ListJobsRequest(page_size=3, labels={"shot": "7"}),
        job_pb.CreateAnimationJobRequest(animation=order, labels={"shot": "7"}),
        retarget_pb.RetargetRequest(),
        retarget_pb.MapBonesRequest(),
    ]
    return [bytes([number]) + message.SerializeToString() for number, message in enumerate(wholes)]
