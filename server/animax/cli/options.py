"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from animax.errors import OptionError
from animax.request import (
    FPS,
    GUIDANCE,
    SECONDS,
    STEPS,
    JointMask,
    PinnedPose,
    PoseSource,
    PromptChange,
    Request,
    RootMode,
)

TYPED = {
    "pinned_poses": "pose_at",
    "prompt_changes": "prompt_at",
    "joint_mask": "joints",
    "joint_mask.base_clip": "base_clip",
    "models": "model",
    "max_queued": "queue",
    "max_request_seconds": "max_seconds",
    "watch_seconds": "watch",
    "grace_seconds": "grace",
    "drain_seconds": "drain",
    "web_origins": "web_origin",
    "jobs.data": "data",
    "jobs.lanes": "lanes",
    "jobs.blob_bytes": "blob_mib",
}
"""Arguments whose fields have another name."""
POSE = "rest, CLIP@SECONDS, or a .json file of rotations [x, y, z, w] by joint name"


def new_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    """A parser for one command."""
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_stance(parser: argparse.ArgumentParser) -> None:
    """How the rig stands in its file."""
    group = parser.add_argument_group("rig")
    group.add_argument(
        "--facing",
        metavar="AXIS",
        help="where the rig looks: +x, -x, +y, -y, +z, -z, or degrees of yaw from +z "
        "(default: estimated; `animax inspect` shows the estimate)",
    )
    group.add_argument(
        "--up", metavar="AXIS", help="the rig's up axis (default: the file's +y, unless feet and head say otherwise)"
    )


def add_request(parser: argparse.ArgumentParser) -> None:
    """What to generate: the fields of ``Request`` apart from the prompt."""
    default = Request("default")
    group = parser.add_argument_group("motion")
    group.add_argument(
        "--seconds",
        type=float,
        default=default.seconds,
        metavar="S",
        help=f"length, {SECONDS[0]:g} to {SECONDS[1]:g} (default: %(default)g)",
    )
    group.add_argument(
        "--fps",
        type=float,
        default=default.fps,
        metavar="N",
        help=f"frames a second, {FPS[0]:g} to {FPS[1]:g} (default: %(default)g)",
    )
    group.add_argument(
        "--seed", type=int, default=default.seed, metavar="N", help="same seed, same motion (default: %(default)d)"
    )
    group.add_argument("--loop", action="store_true", help="end where it began, without a seam")
    group.add_argument(
        "--root-mode",
        choices=[mode.value for mode in RootMode],
        default=default.root_mode.value,
        help="travel over the ground: stay on the spot, move with the feet, or never translate (default: %(default)s)",
    )
    group.add_argument(
        "--guidance",
        type=float,
        metavar="G",
        help=f"how strictly the prompt is followed, {GUIDANCE[0]:g} to {GUIDANCE[1]:g} (default: the model's own)",
    )
    group.add_argument(
        "--steps", type=int, metavar="N", help=f"denoising steps, {STEPS[0]} to {STEPS[1]} (default: the model's own)"
    )
    group.add_argument("--no-foot-cleanup", action="store_true", help="leave sliding feet as they are")
    add_control(parser)


def add_control(parser: argparse.ArgumentParser) -> None:
    """What the motion keeps to, beside the prompt."""
    group = parser.add_argument_group(
        "control",
        "A POSE is `rest`, CLIP@SECONDS (a frame of an animation in the rig's file), or a .json file of local "
        'rotations by joint: {"Head": [x, y, z, w], ...}, the others at rest.',
    )
    group.add_argument("--first-pose", metavar="POSE", help="begin with this pose")
    group.add_argument("--last-pose", metavar="POSE", help="end with this pose")
    group.add_argument(
        "--pose-at",
        metavar=("SECONDS", "POSE"),
        nargs=2,
        action="append",
        default=[],
        help="take this pose at this time; may be repeated",
    )
    group.add_argument(
        "--prompt-at",
        metavar=("SECONDS", "PROMPT"),
        nargs=2,
        action="append",
        default=[],
        help="another prompt from this time on; may be repeated",
    )
    group.add_argument(
        "--joints",
        metavar="NAME",
        nargs="+",
        default=[],
        help="only these joints and all below them follow the prompt; upper_body stands for all but root and legs",
    )
    group.add_argument("--joints-alone", action="store_true", help="without the joints below those of --joints")
    group.add_argument(
        "--base-clip",
        metavar="CLIP",
        help="an animation in the rig's file that all other joints follow (default: rest)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Which model runs where."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--model",
        metavar="NAME",
        help="an installed model (`animax models list`) or a model folder (default: embedded); with --server one of "
        "the server's (default: its own)",
    )
    add_provider(group)


def add_provider(group: argparse._ArgumentGroup) -> None:
    """Where a model runs. What is left out is the default of whoever loads it."""
    group.add_argument(
        "--provider",
        choices=("auto", "cpu", "cuda", "tensorrt"),
        help="where it runs; auto takes the fastest there is (default: auto)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")


def engine_of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``load_model`` that those of ``add_engine`` set."""
    given = {"name": options.model, "provider": options.provider, "threads": options.threads}
    return {name: value for name, value in given.items() if value is not None}


def request_of(options: argparse.Namespace, prompt: str) -> Request:
    """The request that the arguments of ``add_request`` describe.

    Raises:
        OptionError: a value is out of range.
    """
    return Request(
        prompt,
        seconds=options.seconds,
        fps=options.fps,
        seed=options.seed,
        loop=options.loop,
        root_mode=RootMode(options.root_mode),
        guidance=options.guidance,
        steps=options.steps,
        foot_cleanup=not options.no_foot_cleanup,
        first_pose=pose_source(options.first_pose, "first_pose") if options.first_pose else None,
        last_pose=pose_source(options.last_pose, "last_pose") if options.last_pose else None,
        pinned_poses=tuple(
            PinnedPose(seconds(at, "pose_at"), pose_source(pose, "pose_at")) for at, pose in options.pose_at
        ),
        prompt_changes=tuple(PromptChange(seconds(at, "prompt_at"), prompt) for at, prompt in options.prompt_at),
        joint_mask=joint_mask(options),
    )


def as_typed(field: str, arguments: Sequence[str]) -> str:
    """A field as the argument that it was given by, ``--pose-at``; as it is where none of them is."""
    option = "--" + TYPED.get(field, field).replace("_", "-").replace(".", "-")
    return option if option in {argument.partition("=")[0] for argument in arguments} else field


def joint_mask(options: argparse.Namespace) -> JointMask | None:
    """The joint mask that the arguments of ``add_control`` describe."""
    if options.joints:
        return JointMask(tuple(options.joints), options.joints_alone, options.base_clip)
    for name in ("joints_alone", "base_clip"):
        if getattr(options, name):
            raise OptionError(name, getattr(options, name), "only together with --joints")
    return None


def pose_source(text: str, option: str) -> PoseSource:
    """A POSE argument.

    Raises:
        OptionError: it is none.
    """
    clip, mark, at = text.rpartition("@")
    try:
        if text == "rest":
            return PoseSource()
        if text.endswith(".json"):
            return PoseSource(rotations=rotations(text))
        if not mark or not clip:
            raise OptionError(option, text, POSE)
        return PoseSource(clip, seconds(at, option))
    except OptionError as error:
        raise OptionError(option, error.seen, error.accepted) from error


def rotations(file: str) -> tuple[tuple[str, tuple[float, float, float, float]], ...]:
    """What a POSE file holds: a rotation for each of some joints.

    Raises:
        OptionError: it cannot be read, is no JSON, or something else.
    """
    try:
        content = json.loads(Path(file).read_text("utf-8"))
    except OSError as error:
        raise OptionError("pose", file, f"a .json file that can be read ({error.strerror})") from None
    except ValueError as error:  # of JSON, or bytes that are no text
        raise OptionError("pose", file, f"a file of JSON in UTF-8 ({error})") from None
    if not isinstance(content, dict):
        raise OptionError("pose", file, 'a JSON object {"Head": [x, y, z, w], ...}')
    for name, turn in content.items():
        if not (isinstance(turn, list) and len(turn) == 4 and all(isinstance(part, (int, float)) for part in turn)):
            raise OptionError("pose", f"{name}: {turn}", f"four numbers [x, y, z, w] for each joint of {file}")
    return tuple((name, tuple(turn)) for name, turn in content.items())


def seconds(text: str, option: str) -> float:
    """A time argument.

    Raises:
        OptionError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise OptionError(option, text, "seconds, a number") from None


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def existing_file(text: str) -> Path:
    """An argparse type: a file that is there."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path
