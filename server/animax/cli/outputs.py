"""Which files a command writes, checked before any work is done, and written whole or not at all."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from animax.errors import OptionError

if TYPE_CHECKING:
    from animax.assets.rig import Rig
    from animax.motion.clip import Clip

CLIP_SUFFIXES = (".glb", ".bvh", ".npz")
PREVIEW_SUFFIXES = (".mp4", ".gif", ".png")


def add_files(parser: argparse.ArgumentParser, rig: str, default: str) -> argparse._ArgumentGroup:
    """Add the options of what is written, and give their group.

    Args:
        parser: of a command that moves a rig.
        rig: what its help calls that.
        default: name of what is written where none is given.
    """
    files = parser.add_argument_group("files")
    files.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help=f"write .glb ({rig} plus the animation), .bvh or .npz; may be repeated (default: {default} here)",
    )
    files.add_argument(
        "--preview",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="render an .mp4, .gif or .png strip; may be repeated",
    )
    return files


@dataclass(frozen=True)
class Outputs:
    """Files to write for each of some variants.

    Attributes:
        clips: paths ending in one of ``CLIP_SUFFIXES``.
        previews: paths ending in one of ``PREVIEW_SUFFIXES``.
        variants: with more than one, the variant's number (from 1) goes before each suffix.
    """

    clips: tuple[Path, ...]
    previews: tuple[Path, ...]
    variants: int = 1

    def paths(self, variant: int) -> Iterable[tuple[Path, bool]]:
        """Path and whether it is a preview, of everything to write for a variant (from 0)."""
        for paths, is_preview in ((self.clips, False), (self.previews, True)):
            for path in paths:
                yield numbered(path, variant) if self.variants > 1 else path, is_preview


def plan(rig: Path, prompt: str, clips: Iterable[Path], previews: Iterable[Path], variants: int) -> Outputs:
    """Check what was asked for; without a clip, a GLB named after rig and prompt in the current folder.

    Raises:
        OptionError: a suffix is unknown, a folder is not there or cannot be written, a file is named twice, or the
            rig's own would be overwritten.
    """
    clips = tuple(clips) or (Path(f"{rig.stem}-{slug(prompt)}.glb"),)
    outputs = Outputs(clips, tuple(previews), variants)
    for path in outputs.clips:
        check_output(path, CLIP_SUFFIXES, "output")
    for path in outputs.previews:
        check_output(path, PREVIEW_SUFFIXES, "preview")
    written: set[Path] = set()
    for variant in range(variants):
        for path, is_preview in outputs.paths(variant):
            option, place = "preview" if is_preview else "output", path.resolve()
            if place == rig.resolve():
                raise OptionError(option, str(path), "another file than the rig itself")
            if place in written:
                raise OptionError(option, str(path), "each file once")
            written.add(place)
    return outputs


def write_clip(path: Path, rig: Rig, clip: Clip) -> None:
    """Write a clip in the format of the path's suffix."""
    data = clip_content(path, rig, clip)
    write_whole(path, lambda part: part.write_bytes(data))


def clip_content(path: Path, rig: Rig, clip: Clip) -> bytes:
    """A clip in the format of the path's suffix."""
    from animax.assets import write_bvh, write_glb, write_npz

    if path.suffix.lower() == ".glb":
        return write_glb(rig, clip)
    if path.suffix.lower() == ".bvh":
        return write_bvh(rig.skeleton, clip).encode()
    return write_npz(rig.skeleton, clip)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path`` and then rename it, so that no half file is ever seen."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        if error.filename == str(part):  # nobody asked for that one
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def numbered(path: Path, variant: int) -> Path:
    """``wave.glb`` as ``wave-1.glb`` for variant 0."""
    return path.with_name(f"{path.stem}-{variant + 1}{path.suffix}")


def slug(prompt: str, longest: int = 40) -> str:
    """The prompt as part of a file name."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    text = ""
    for word in words:
        if len(text) + len(word) >= longest:
            break
        text += f"-{word}" if text else word
    return text or "clip"


def check_output(path: Path, suffixes: tuple[str, ...], option: str) -> None:
    """Return if such a file can be written.

    Raises:
        OptionError: its suffix is not one of these, or its folder takes no file.
    """
    if path.suffix.lower() not in suffixes:
        raise OptionError(option, str(path), f"a name that ends in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise OptionError(option, str(path), f"a place in a folder that is there; {path.parent} is not")
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        accepted = f"a place in a folder that can be written; {path.parent} cannot ({error.strerror})"
        raise OptionError(option, str(path), accepted) from None
