"""What was generated, as the messages of a stream: header, clips, files, their summaries."""

from __future__ import annotations

from collections.abc import Iterator

from animax.assets.rig import Rig
from animax.service.generation import File, Model, Product
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import rig_pb2 as rig_pb
from animax.wire.clip import CONTENT_BYTES
from animax.wire.request import ROOT_MODE_VALUES, STAGES, Order
from animax.wire.rig import stance_message


def model_message(model: Model) -> pb.Model:
    """A loaded model as its message."""
    return pb.Model(name=model.name, sha256=model.sha256, provider=model.provider, native_fps=model.fps)


def header_message(order: Order, rig: Rig, uploaded: asset_pb.Rig, model: Model) -> pb.Header:
    """What a stream begins with.

    Args:
        order: what was asked for.
        rig: with the stance that was asked for.
        uploaded: what the upload of the rig answered.
        model: that generates.
    """
    request = order.request
    return pb.Header(
        axes=rig_pb.AXIS_CONVENTION_RIGHT_HANDED_Y_UP_METRES,
        quaternion_order=rig_pb.QUATERNION_ORDER_XYZW,
        skeleton=uploaded.skeleton,
        stance=stance_message(rig.stance),
        rig_id=order.rig_id,
        model=model_message(model),
        prompt=request.prompt,
        seed=request.seed,
        seconds=request.seconds,
        fps=request.fps,
        loop=request.loop,
        root_mode=ROOT_MODE_VALUES[request.root_mode],
        guidance=request.guidance,
        steps=request.steps,
        foot_cleanup=request.foot_cleanup,
        variants=order.variants,
        file_formats=order.file_formats,
        warnings=uploaded.warnings,
    )


def clip_messages(variant: int, seed: int, product: Product) -> Iterator[pb.AnimateResponse]:
    """A clip from its start to the last byte of its files."""
    clip = product.clip
    start = pb.ClipStart(
        variant=variant,
        seed=seed,
        frame_count=len(clip),
        rotated_joints=clip.rotated_joints.tolist(),
        translated_joints=clip.translated_joints.tolist(),
        warnings=product.warnings,
    )
    yield pb.AnimateResponse(clip_start=start)
    for frames in clip.messages(variant):
        yield pb.AnimateResponse(frames=frames)
    for file in product.files:
        for chunk in file_chunks(variant, file):
            yield pb.AnimateResponse(file_chunk=chunk)


def file_chunks(variant: int, file: File) -> Iterator[pb.FileChunk]:
    """A finished file in parts."""
    for offset in range(0, len(file.content), CONTENT_BYTES):
        yield pb.FileChunk(
            variant=variant,
            format=file.format,
            size_bytes=len(file.content),
            offset=offset,
            content=file.content[offset : offset + CONTENT_BYTES],
        )


def clip_summary(variant: int, seed: int, product: Product) -> pb.ClipSummary:
    """What the summary says of a clip."""
    stages = {**{stage.value: value for stage, value in STAGES.items()}, "write": pb.STAGE_WRITE}
    timings = [
        pb.StageSeconds(stage=value, seconds=product.timings[name])
        for name, value in stages.items()
        if name in product.timings
    ]
    return pb.ClipSummary(
        variant=variant,
        seed=seed,
        frame_count=len(product.clip),
        frames_sha256=product.frames_sha256,
        confidence=product.confidence,
        timings=timings,
        files=[file_summary(file) for file in product.files],
    )


def file_summary(file: File) -> pb.FileSummary:
    """What the summary says of a file."""
    return pb.FileSummary(format=file.format, size_bytes=len(file.content), sha256=file.sha256)
