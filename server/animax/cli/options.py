"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path

from animax.request import FPS, GUIDANCE, SECONDS, STEPS, Request, RootMode


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


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Which model runs where."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--model", default="embedded", metavar="NAME", help="a shipped model or a model folder (default: %(default)s)"
    )
    group.add_argument(
        "--provider",
        default="auto",
        choices=("auto", "cpu", "cuda", "tensorrt"),
        help="where it runs; auto takes the fastest there is (default: %(default)s)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")


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
    )


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def existing_file(text: str) -> Path:
    """An argparse type: a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path
