"""``animax retarget``: a clip of one rig onto another, in this process or on a server."""

from __future__ import annotations

import argparse
import json
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animax.bone_map import BoneMap, ChainPair
from animax.cli import outputs
from animax.cli.animate import warn
from animax.cli.interruption import Interruption
from animax.cli.options import add_stance, existing_file, new_command
from animax.cli.progress import ProgressDisplay
from animax.cli.server_options import add_server, check_local, connection_of
from animax.cli.status import DONE
from animax.errors import OptionError
from animax.request import FPS, RetargetRequest, RootMode

if TYPE_CHECKING:
    from animax.assets.rig import Rig
    from animax.client import Client
    from animax.motion.clip import Clip
    from animax.v1.retarget_service_pb2 import ClipSource
    from animax.wire.retarget import MappedBones

EXAMPLES = """\
  animax retarget fox.glb wolf.glb --clip Run -o run.glb --preview run.png
  animax retarget fox.glb wolf.glb --show-map --save-map fox-wolf.json    then correct the file by hand, and
  animax retarget fox.glb wolf.glb --clip Run --map fox-wolf.json -o run.glb
  animax retarget fox.glb wolf.glb --all --bone tail=tail_01,tail_02 --rest ear_l ear_r -o moves.glb
  animax retarget job:0f3c… wolf.glb --server farm:50051 -o run.glb       what a job of the server made
"""
JOB = re.compile(r"job:(?P<id>[^/]+)(?:/(?P<variant>[0-9]{1,6}))?")


@dataclass(frozen=True, eq=False)
class Made:
    """One clip, wherever it was retargeted.

    Attributes:
        clip: joints in the order of the target's skeleton.
        bones: the map that was used.
        confidence: of the map, 0 to 1.
        warnings: one sentence each.
    """

    clip: Clip
    bones: BoneMap
    confidence: float
    warnings: tuple[str, ...]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "retarget", "carry a clip of one rig over to another", EXAMPLES)
    parser.add_argument(
        "source", metavar="CLIP", help="a .glb or .gltf with animations; with --server also job:ID or job:ID/VARIANT"
    )
    parser.add_argument("target", metavar="TARGET", type=existing_file, help="the rigged .glb or .gltf that shall move")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--clip", metavar="NAME", default="", help="animation in CLIP (default: its only one)")
    which.add_argument("--clip-index", metavar="N", type=int, help="its number, from 0, where several have one name")
    which.add_argument("--all", action="store_true", help="every animation in CLIP, into one .glb")
    files = outputs.add_files(parser, "TARGET", "TARGET-CLIP.glb")
    files.add_argument("--json", action="store_true", help="report as JSON on stdout")
    _add_map(parser)
    motion = parser.add_argument_group("motion")
    motion.add_argument(
        "--fps", type=float, metavar="N", help=f"frames a second, {FPS[0]:g} to {FPS[1]:g} (default: the clip's own)"
    )
    motion.add_argument(
        "--root-mode",
        choices=[mode.value for mode in RootMode],
        help="travel over the ground (default: the clip's own, scaled by the bodies' heights)",
    )
    motion.add_argument(
        "--root-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="how far the body travels, times the ratio of the bodies' heights (default: %(default)g)",
    )
    motion.add_argument("--no-foot-cleanup", action="store_true", help="leave sliding feet as they are")
    motion.add_argument("--source-facing", metavar="AXIS", help="where the rig in CLIP looks, as --facing")
    add_stance(parser)
    add_server(parser, default=None, help="let a server do it")
    parser.set_defaults(run=run)


def _add_map(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "bone map", "Chains of bones are matched by names and shape; look with --show-map, then correct."
    )
    group.add_argument("--show-map", action="store_true", help="print the map; without -o and --preview nothing else")
    group.add_argument("--save-map", metavar="FILE", type=Path, help="write the map as .json, to be edited")
    group.add_argument("--map", metavar="FILE", type=existing_file, help="use this .json map and no other pairs")
    group.add_argument(
        "--bone",
        metavar="SOURCE=TARGET",
        action="append",
        default=[],
        help="a chain, joints separated by commas, that drives another one; may be repeated, and corrects the map",
    )
    group.add_argument("--rest", metavar="JOINT", nargs="+", default=[], help="joints of TARGET that nothing drives")


def run(options: argparse.Namespace) -> int:
    """Retarget, write, report."""
    request = request_of(options)
    source = source_of(options)
    check_local(options)
    only_map = (options.show_map or options.save_map) and not (options.output or options.preview or options.all)
    clip = options.clip if options.clip_index is None else options.clip_index
    title = options.clip or (source.stem if isinstance(source, Path) else "job")
    files = outputs.plan(options.target, title, options.output, options.preview, 1)
    if options.all and (files.previews or [path for path in files.clips if path.suffix.lower() != ".glb"]):
        raise OptionError("output", str([*files.clips, *files.previews][-1]), "one .glb with --all")
    for path, _ in files.paths(0):
        if isinstance(source, Path) and path.resolve() == source.resolve():
            raise OptionError("output", str(path), "another file than that of the clip")

    from animax.assets import load_rig

    began = time.monotonic()
    report: dict[str, Any] = {"clips": []}
    with ProgressDisplay() as display, ExitStack() as stack:
        target = load_rig(options.target, facing=options.facing, up=options.up)
        for warning in target.warnings:
            warn(warning)
        worker = stack.enter_context(_Remote(options, source, target, display)) if options.server else None
        work = worker or _Local(options, source, target, display)
        if only_map:
            mapped = work.map(request)
            bones = mapped.bones
            display.clear()
            for warning in mapped.warnings:
                warn(warning)
        else:
            made = [work.make(which, request) for which in (work.clips() if options.all else [clip])]
            bones = made[-1].bones
            written = _write(files, target, made, display)
            display.clear()
            for one in made:
                for warning in one.warnings:
                    warn(warning)
                report["clips"].append(_describe(one))
            report["files"] = [str(path) for path in written]
    report |= {**bones.as_dict(), "resting": work.resting(bones), "seconds": round(time.monotonic() - began, 3)}
    if options.save_map:
        text = json.dumps(bones.as_dict(), indent=2, ensure_ascii=False) + "\n"
        outputs.write_whole(options.save_map, lambda part: part.write_text(text, "utf-8"))
    if options.json:
        print(json.dumps(report, indent=2))
        return DONE
    if options.show_map:
        print("\n".join(map_lines(bones, report["resting"])))
    for one in () if only_map else made:
        told = f"{one.clip.name}: {len(one.clip)} frames at {one.clip.fps:g} fps, bone map {one.confidence:.2f}"
        print(f"{', '.join(report['files'])}: {told}")
    if options.save_map:
        print(f"{options.save_map}: bone map, {len(bones.pairs)} chains")
    return DONE


def request_of(options: argparse.Namespace) -> RetargetRequest:
    """What the arguments ask for.

    Raises:
        OptionError: a value is out of range, or the map's file holds none.
    """
    pairs = [_pair(text) for text in options.bone] + [ChainPair((), (name,)) for name in options.rest]
    bones = BoneMap(tuple(pairs)) if pairs else None
    if options.map:
        try:
            whole = BoneMap.from_dict(json.loads(options.map.read_text("utf-8")))
        except ValueError as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError("map", str(options.map), "a .json file as --save-map writes") from None
        bones = bones.over(whole) if bones else whole
    return RetargetRequest(
        bones=bones,
        only_given=options.map is not None,
        fps=options.fps,
        root_mode=RootMode(options.root_mode) if options.root_mode else None,
        root_scale=options.root_scale,
        foot_cleanup=not options.no_foot_cleanup,
    )


def source_of(options: argparse.Namespace) -> Path | re.Match[str]:
    """The file, or the job, that the clip comes from.

    Raises:
        OptionError: there is no such file, or a job is named without a server.
    """
    job = JOB.fullmatch(options.source)
    if job is None:
        try:
            return existing_file(options.source)
        except argparse.ArgumentTypeError:
            raise OptionError(
                "clip", options.source, "a .glb or .gltf that is there, or job:ID with --server"
            ) from None
    if not options.server:
        raise OptionError("clip", options.source, "a file; jobs need --server")
    if options.clip or options.all or options.clip_index is not None:
        raise OptionError(
            "clip",
            options.clip or options.clip_index or "--all",
            "nothing with a job: it has one clip for each variant",
        )
    return job


def map_lines(bones: BoneMap, resting: list[str]) -> list[str]:
    """A map for people."""
    rows = [
        (", ".join(pair.source) or "(rest)", ", ".join(pair.target), pair.found_by, f"{pair.confidence:.2f}")
        for pair in bones.pairs
    ]
    widths = [max([len(row[i]) for row in rows] + [6]) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if resting:
        lines.append(f"at rest: {', '.join(resting)}")
    return [
        "  ".join(title.ljust(width) for title, width in zip(("source", "target", "by", "sure"), widths, strict=True)),
        *lines,
    ]


class _Local:
    """Retargets in this process."""

    def __init__(self, options: argparse.Namespace, source: Any, target: Rig, display: ProgressDisplay) -> None:
        from animax.assets import load_rig

        self.rig, self.target, self.display = load_rig(source, facing=options.source_facing), target, display

    def clips(self) -> list[int]:
        return _moving(self.rig)

    def map(self, request: RetargetRequest) -> MappedBones:
        from animax.motion.bone_matching import left_over
        from animax.retargeting import bone_map, judged
        from animax.wire.retarget import MappedBones

        bones = bone_map(self.rig, self.target, request)
        unused, resting = left_over(bones, self.rig, self.target)
        return MappedBones(bones, tuple(unused), tuple(resting), judged(bones, self.rig, self.target)[1])

    def make(self, which: str | int, request: RetargetRequest) -> Made:
        from animax.retargeting import choose_clip, retarget_clip

        name, index = (which, None) if isinstance(which, str) else ("", which)
        clip = choose_clip(self.rig, name, request.fps, index=index)
        with Interruption() as interruption:
            made = retarget_clip(clip, self.rig, self.target, request, progress=self.display, should_stop=interruption)
        return Made(made.clip, made.bones, made.confidence, made.warnings)

    def resting(self, bones: BoneMap) -> list[str]:
        from animax.motion.bone_matching import left_over

        return left_over(bones, self.rig, self.target)[1]


class _Remote:
    """Lets a server retarget."""

    def __init__(self, options: argparse.Namespace, source: Any, target: Rig, display: ProgressDisplay) -> None:
        self.options, self.source, self.target, self.display = options, source, target, display
        self._stack = ExitStack()

    def __enter__(self) -> _Remote:
        from animax.assets import load_rig
        from animax.assets.stance import direction
        from animax.client import Client

        self.display.show(f"connecting to {self.options.server}")
        self.client: Client = self._stack.enter_context(Client(self.options.server, **connection_of(self.options)))
        self.target_id = self._upload(self.options.target)
        facing = self.options.source_facing
        if facing is None:
            self.facing = []
        elif isinstance(self.source, Path):
            self.facing = load_rig(self.source, facing=facing).stance.forward.tolist()
        else:
            self.facing = direction(facing, "source_facing").tolist()
        self.rig_id = self._upload(self.source) if isinstance(self.source, Path) else ""
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def clips(self) -> list[int]:
        from animax.assets import load_rig

        return _moving(load_rig(self.source))

    def map(self, request: RetargetRequest) -> MappedBones:
        return self.client.map_bones(self._clip(), self.target_id, request, facing=self._target_facing())

    def make(self, which: str | int, request: RetargetRequest) -> Made:
        with Interruption() as interruption, self._retarget(which, request) as stream:
            result = stream.collect(lambda progress: self.display.remote(progress, interruption, progress.fraction))
        assert result.bones is not None
        return Made(result.clip, result.bones, result.summary.clips[0].confidence, result.warnings)

    def resting(self, bones: BoneMap) -> list[str]:
        from animax.motion.bone_matching import left_over

        return left_over(bones, self.target, self.target)[1]

    def _retarget(self, which: str | int, request: RetargetRequest) -> Any:
        return self.client.retarget(self._clip(which), self.target_id, request, facing=self._target_facing())

    def _clip(self, which: str | int = "") -> ClipSource:
        from animax.wire.retarget import clip_source

        if isinstance(self.source, Path):
            return clip_source(which, rig_id=self.rig_id, facing=self.facing)
        job = self.source.groupdict()
        return clip_source(job_id=job["id"], variant=int(job["variant"] or 0), facing=self.facing)

    def _target_facing(self) -> list[float] | None:
        return None if self.options.facing is None else self.target.stance.forward.tolist()

    def _upload(self, path: Path) -> str:
        from animax.assets import load_rig

        if path.suffix.lower() != ".gltf":
            return self.client.upload(path).rig_id
        from animax.assets import write_glb

        return self.client.upload(write_glb(load_rig(path), ()), name=path.stem).rig_id


def _moving(rig: Rig) -> list[int]:
    """Numbers of the animations for ``--all``.

    Raises:
        OptionError: there are none.
    """
    from animax.retargeting import moving_clips

    found = moving_clips(rig)
    if not found:
        raise OptionError("clip", "--all", "a file with animations that move its rig; this one has none")
    return found


def _write(files: outputs.Outputs, target: Rig, made: list[Made], display: ProgressDisplay) -> list[Path]:
    """Write everything that was asked for; returns the paths."""
    written = []
    for path, is_preview in files.paths(0):
        display.show(f"writing {path.name}", 1.0)
        if is_preview:
            from animax.views.preview import write_preview

            clip = made[0].clip
            outputs.write_whole(path, lambda part, clip=clip: write_preview(part, target, clip))  # type: ignore[misc]
        elif len(made) == 1:
            outputs.write_clip(path, target, made[0].clip)
        else:
            from animax.assets import write_glb

            data = write_glb(target, [one.clip for one in made])
            outputs.write_whole(path, lambda part, data=data: part.write_bytes(data))  # type: ignore[misc]
        written.append(path)
    return written


def _describe(made: Made) -> dict[str, Any]:
    """A clip for ``--json``."""
    return {
        "name": made.clip.name,
        "frames": len(made.clip),
        "fps": made.clip.fps,
        "loop": made.clip.loop,
        "confidence": round(made.confidence, 4),
        "warnings": list(made.warnings),
    }


def _pair(text: str) -> ChainPair:
    parts = [tuple(filter(None, (name.strip() for name in side.split(",")))) for side in text.split("=")]
    if len(parts) != 2 or not all(parts):
        raise OptionError("bone", text, "SOURCE=TARGET, each one joint or several separated by commas")
    return ChainPair(parts[0], parts[1])
