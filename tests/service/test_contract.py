"""The contract itself: lint, generated modules, versions, and what a client of another version sends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animax.client import AsyncClient
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import retarget_service_pb2 as retarget_pb
from animax.v1 import rig_pb2 as rig_pb
from animax.wire.failure import MalformedMessage, error_of
from tests.conftest import lacking
from tests.service.conftest import Running, serving_in_thread

FILES = (pb.DESCRIPTOR, asset_pb.DESCRIPTOR, job_pb.DESCRIPTOR, retarget_pb.DESCRIPTOR, rig_pb.DESCRIPTOR)
identity = bytes


def test_buf_has_nothing_to_say(repository: Path) -> None:
    buf = Path(sys.executable).with_name("buf")
    if not buf.exists():
        lacking("buf is not installed (pip install buf-bin)")
    done = subprocess.run([str(buf), "lint", "proto"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # clients of the first contract go on working
    first = ["--against", "proto/first_contract.binpb"]
    done = subprocess.run([str(buf), "breaking", "proto", *first], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_generated_modules_are_those_of_the_proto_files(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    sources = sorted(str(path.relative_to(repository / "proto")) for path in (repository / "proto").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={repository / 'proto'}"]
    subprocess.run([*command, f"--descriptor_set_out={tmp_path / 'set'}", *sources], check=True)
    fresh = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes())
    committed = {file.name: file for file in FILES}
    assert {file.name for file in fresh.file} == set(committed)
    for file in fresh.file:
        there = descriptor_pb2.FileDescriptorProto()
        committed[file.name].CopyToProto(there)
        for proto in (file, there):
            for message in proto.message_type:
                for entry in [*message.field, *(part for nested in message.nested_type for part in nested.field)]:
                    entry.ClearField("json_name")
        assert there == file


def test_zero_never_means_anything() -> None:
    enums = [enum for file in FILES for enum in file.enum_types_by_name.values()]
    assert len(enums) >= 7
    for enum in enums:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
        assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"


def test_the_required_versions_run_the_generated_modules(repository: Path) -> None:
    """Generated code refuses older runtimes at import; the package must not promise them."""
    v1 = repository / "server" / "animax" / "v1"
    protobuf = re.search(r"# Protobuf Python Version: ([\d.]+)", (v1 / "rig_pb2.py").read_text())
    service = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", (v1 / "asset_service_pb2_grpc.py").read_text())
    assert protobuf is not None
    assert service is not None
    project = (repository / "pyproject.toml").read_text()

    def lowest(name: str) -> tuple[int, ...]:
        found = re.search(rf'"{name}>=([\d.]+)', project)
        assert found is not None
        return tuple(map(int, found.group(1).split(".")))

    assert lowest("protobuf") >= tuple(map(int, protobuf.group(1).split(".")))
    assert lowest("grpcio") >= tuple(map(int, service.group(1).split(".")))


def test_the_service_imports_without_torch() -> None:
    code = "import sys, animax.service, animax.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_importing_the_client_loads_no_engine() -> None:
    code = "import sys, animax.client; sys.exit('onnxruntime' in sys.modules or 'animax.service' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


async def test_a_client_of_a_later_version_is_understood(running: Running, client: AsyncClient, rig_id: str) -> None:
    message = pb.AnimateRequest(rig_id=rig_id, prompt="walks", seed=1).SerializeToString()
    # field 900: text; field 901: a number
    later = message + b"\xa2\x38\x05later" + b"\xa8\x38\x2a"
    async with running.channel() as channel:
        call = channel.unary_stream("/animax.v1.AnimationService/Animate", identity, pb.AnimateResponse.FromString)(
            later
        )
        kinds = [message.WhichOneof("event") async for message in call]
    assert (kinds[0], kinds[-1]) == ("header", "summary")


BROKEN = {
    "cut off": b"\x12\xff\x01abc",
    "not UTF-8": b"\x12\x02\xc3\x28",
    "a lone surrogate": b"\x12\x03\xed\xa0\x80",
    "noise": b"\xff" * 64,
    "group without end": b"\x0b" * 2000,
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("method", ["AnimationService/Animate", "AssetService/HasAsset"])
async def test_bytes_that_are_no_message_are_the_callers_fault(running: Running, case: str, method: str) -> None:
    async with running.channel() as channel:
        call = (
            channel.unary_unary(f"/animax.v1.{method}", identity, identity)(BROKEN[case])
            if method.endswith("HasAsset")
            else channel.unary_stream(f"/animax.v1.{method}", identity, identity)(BROKEN[case])
        )
        if method.endswith("HasAsset") and case in ("not UTF-8", "a lone surrogate"):
            call.cancel()  # field 2 is unknown there
            return
        code = await call.code()
        assert code == grpc.StatusCode.INVALID_ARGUMENT, (code, await call.details())


async def test_a_bomb_of_gzip_is_refused_before_it_goes_off(running: Running) -> None:
    """64 MiB of zeros in 64 kB: one message to gRPC, which must not unpack it beyond the limit of messages."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(running.target, options, compression=grpc.Compression.Gzip) as channel:
        call = channel.unary_unary("/animax.v1.AnimationService/GetCapabilities", None, None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(bytes(64 << 20))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "ecompressed message larger than max" in (caught.value.details() or "")


async def test_malformed_bytes_in_an_upload_are_the_callers_fault(running: Running) -> None:
    async with running.channel() as channel:
        call = channel.stream_unary("/animax.v1.AssetService/UploadAsset", identity, identity)(iter([b"\xff" * 9]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert isinstance(error_of(caught.value), MalformedMessage)


numbers = st.one_of(st.floats(), st.floats(width=32), st.sampled_from([0.0, 1e308, -1.0, 2.0, 30.0]))
joint_names = st.text(max_size=8) | st.sampled_from(["upper_body", "joint_1"])
poses = st.builds(
    pb.PoseSource,
    clip=st.text(max_size=8),
    clip_seconds=numbers,
    joints=st.lists(joint_names, max_size=2),
    rotations=st.lists(st.floats(width=32), max_size=8),
)
requests = st.builds(
    lambda **fields: pb.AnimateRequest(**{name: value for name, value in fields.items() if value is not None}),
    rig_id=st.sampled_from(["known", "0" * 64, "", "x", "../x", "\0" * 64]),
    prompt=st.text(max_size=600),
    seed=st.none() | st.integers(0, 2**64 - 1),
    seconds=st.none() | numbers,
    fps=st.none() | numbers,
    loop=st.booleans(),
    root_mode=st.integers(-5, 5),
    guidance=st.none() | numbers,
    steps=st.none() | st.integers(0, 2**32 - 1),
    variants=st.integers(0, 2**32 - 1) | st.just(1),
    facing=st.lists(st.floats(width=32), max_size=4),
    file_formats=st.lists(st.integers(-2, 4), max_size=3),
    first_pose=st.none() | poses,
    last_pose=st.none() | poses,
    pinned_poses=st.lists(st.builds(pb.PinnedPose, seconds=numbers, pose=poses), max_size=3),
    prompt_changes=st.lists(st.builds(pb.PromptChange, seconds=numbers, prompt=st.text(max_size=600)), max_size=3),
    joint_mask=st.none()
    | st.builds(pb.JointMask, joints=st.lists(joint_names, max_size=3), alone=st.booleans(), base_clip=st.text()),
)


def test_no_request_whatever_is_an_internal_error() -> None:
    """Every combination of fields ends in a whole stream or in a status that blames the request."""
    with (
        serving_in_thread() as running,
        grpc.insecure_channel(running.target, [("grpc.enable_http_proxy", 0)]) as channel,
    ):
        from animax.client import Client

        with Client(running.target) as client:
            known = client.upload(running.glb).rig_id
        call = channel.unary_stream(
            "/animax.v1.AnimationService/Animate", pb.AnimateRequest.SerializeToString, pb.AnimateResponse.FromString
        )
        accepted = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests)
        def attempt(message: pb.AnimateRequest) -> None:
            if message.rig_id == "known":
                message.rig_id = known
            stream = call(message)
            try:
                for _ in stream:
                    pass
            except grpc.RpcError as error:
                size = sum(len(key) + len(value) for key, value in error.trailing_metadata())  # type: ignore[attr-defined]
                assert size <= 4096
            assert stream.code() in accepted, (stream.code(), stream.details(), message)

        attempt()
