"""``animax animate``: a rig and a prompt to files, in this process or on a server."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animax.cli import outputs
from animax.cli.interruption import Interruption
from animax.cli.options import (
    add_engine,
    add_request,
    add_stance,
    engine_of,
    existing_file,
    new_command,
    positive,
    request_of,
)
from animax.cli.progress import ProgressDisplay
from animax.cli.server_options import add_server, check_local, connection_of
from animax.cli.status import DONE
from animax.errors import OptionError, StreamError
from animax.request import MAX_SEED, MAX_VARIANTS, Request

if TYPE_CHECKING:
    from animax.assets.rig import Rig
    from animax.motion.clip import Clip

EXAMPLES = """\
  animax animate hero.glb "waves hello" -o wave.glb
  animax animate fox.glb "runs fast" --loop --fps 60 -o run.glb -o run.bvh --preview run.mp4
  animax animate dragon.glb "roars" --variants 4 -o roar.glb        writes roar-1.glb ... roar-4.glb
  animax animate hero.glb "sits down" --server farm:50051 -o sit.glb
"""


@dataclass(frozen=True, eq=False)
class Generated:
    """One variant, wherever it was made.

    Attributes:
        clip: joints in the order of the rig's skeleton.
        seed: of this variant.
        confidence: 0 to 1.
        timings: seconds by stage.
        warnings: about this clip.
        model: name, hash and provider.
    """

    clip: Clip
    seed: int
    confidence: float
    timings: dict[str, float]
    warnings: tuple[str, ...]
    model: dict[str, str]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "animate", "animate a rig from a prompt", EXAMPLES)
    parser.add_argument("rig", metavar="RIG", type=existing_file, help="a rigged .glb or .gltf")
    parser.add_argument("prompt", metavar="PROMPT", help="what it shall do, in English")
    files = outputs.add_files(parser, "the rig", "RIG-PROMPT.glb")
    files.add_argument(
        "--debug", metavar="DIR", type=Path, help="write template views, generated views and pose maps as pictures"
    )
    files.add_argument(
        "--variants",
        metavar="N",
        type=positive,
        default=1,
        help=f"clips to make, 1 to {MAX_VARIANTS}, with seeds one apart; a server may be set up to make more",
    )
    files.add_argument("--json", action="store_true", help="report as JSON on stdout")
    add_request(parser)
    add_stance(parser)
    add_engine(parser)
    add_server(parser, default=None, help="let a server do it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Animate, write, report."""
    request = request_of(options, options.prompt)
    if options.variants > MAX_VARIANTS and not options.server:
        raise OptionError("variants", options.variants, f"1 to {MAX_VARIANTS}")
    if request.seed + options.variants - 1 > MAX_SEED:
        raise OptionError("seed", request.seed, f"at most {MAX_SEED} for the last variant")
    check_local(options)
    files = outputs.plan(options.rig, request.prompt, options.output, options.preview, options.variants)

    from animax.assets import load_rig

    began = time.monotonic()
    rig = load_rig(options.rig, facing=options.facing, up=options.up)
    report: dict[str, Any] = {"rig": rig.name, "rig_sha256": rig.sha256, "prompt": request.prompt, "clips": []}
    with ProgressDisplay(options.variants) as display:
        for warning in rig.warnings:
            warn(warning)
        make = on_server if options.server else in_process
        for variant, made in enumerate(make(options, rig, request, display)):
            written = write(files, variant, rig, made.clip, display)
            display.clear()
            for warning in made.warnings:
                warn(warning)
            report["model"] = made.model
            report["clips"].append(describe(made, written))
            if not options.json:
                print(line(made, written), flush=True)
    report["seconds"] = round(time.monotonic() - began, 3)
    if options.json:
        print(json.dumps(report, indent=2))
    return DONE


def in_process(
    options: argparse.Namespace, rig: Rig, request: Request, display: ProgressDisplay
) -> Iterator[Generated]:
    """Every variant, made here."""
    display.show("loading the model")
    from animax.diffusion.model import load_model
    from animax.pipeline import animate

    model = load_model(**engine_of(options))
    for variant in range(options.variants):
        display.request = variant
        this = replace(request, seed=request.seed + variant)
        debug = options.debug / str(variant + 1) if options.debug and options.variants > 1 else options.debug
        with Interruption() as interruption:
            made = animate(rig, this, model, progress=display, should_stop=interruption, debug=debug)
        yield Generated(
            made.clip,
            this.seed,
            made.confidence,
            dict(made.timings),
            tuple(warning for warning in made.warnings if warning not in rig.warnings),
            {"name": model.name, "sha256": model.sha256, "provider": model.provider},
        )


def on_server(options: argparse.Namespace, rig: Rig, request: Request, display: ProgressDisplay) -> Iterator[Generated]:
    """Every variant, made by a server."""
    display.show(f"connecting to {options.server}")
    from animax.assets import write_glb
    from animax.client import Client
    from animax.wire.request import STAGE_OF

    with ExitStack() as stack:
        client = stack.enter_context(Client(options.server, **connection_of(options)))
        interruption = stack.enter_context(Interruption())
        in_pieces = options.rig.suffix.lower() == ".gltf"
        uploaded = client.upload(write_glb(rig, ()) if in_pieces else options.rig, name=rig.name)
        facing = rig.stance.forward.tolist() if options.facing is not None else None
        stream = client.animate(
            uploaded.rig_id, request, variants=options.variants, facing=facing, model=options.model or ""
        )
        stack.enter_context(stream)

        def show(progress: Any) -> None:
            display.request = progress.variant
            display.remote(progress, interruption, progress.fraction * options.variants - progress.variant)

        result = stream.collect(show)
    if result.skeleton.names != rig.skeleton.names:
        raise StreamError("the server reads other joints from this rig than this version does", reason="JOINTS_DIFFER")
    header = result.header
    model = {"name": header.model.name, "sha256": header.model.sha256, "provider": header.model.provider}
    for clip, summary in zip(result.clips, result.summary.clips, strict=True):
        timings = {STAGE_OF[t.stage].value: t.seconds for t in summary.timings if t.stage in STAGE_OF}
        warnings = tuple(dict.fromkeys(warning for warning in result.warnings if warning not in rig.warnings))
        yield Generated(clip, summary.seed, summary.confidence, timings, warnings, model)


def write(files: outputs.Outputs, variant: int, rig: Rig, clip: Clip, display: ProgressDisplay) -> list[Path]:
    """Write everything that was asked for of one variant; returns the paths."""
    written = []
    for path, is_preview in files.paths(variant):
        display.show(f"writing {path.name}", 1.0)
        if is_preview:
            from animax.views.preview import write_preview

            outputs.write_whole(path, lambda part: write_preview(part, rig, clip))
        else:
            outputs.write_clip(path, rig, clip)
        written.append(path)
    return written


def describe(made: Generated, written: list[Path]) -> dict[str, Any]:
    """A variant for ``--json``."""
    return {
        "files": [str(path) for path in written],
        "seed": made.seed,
        "frames": len(made.clip),
        "fps": made.clip.fps,
        "loop": made.clip.loop,
        "confidence": round(made.confidence, 4),
        "timings": {stage: round(seconds, 4) for stage, seconds in made.timings.items()},
        "warnings": list(made.warnings),
    }


def line(made: Generated, written: list[Path]) -> str:
    """A variant for people."""
    names = ", ".join(str(path) for path in written)
    clip = f"{len(made.clip)} frames at {made.clip.fps:g} fps"
    took = f"{sum(made.timings.values()):.1f} s" if made.timings else ""
    return ", ".join(filter(None, (f"{names}: {clip}", f"seed {made.seed}", f"confidence {made.confidence:.2f}", took)))


def warn(text: str) -> None:
    """Say on stderr what was odd."""
    print(f"animax: warning: {text}", file=sys.stderr)
