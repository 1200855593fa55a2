"""``animax inspect``: what animax sees in a rig."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animax.cli.options import add_stance, existing_file, new_command
from animax.cli.outputs import check_output, write_whole
from animax.cli.status import DONE

if TYPE_CHECKING:
    from animax.assets.markers import MarkerSet
    from animax.assets.rig import Rig
    from animax.motion.clip import Clip

EXAMPLES = """\
  animax inspect hero.glb
  animax inspect hero.glb --preview hero.png
  animax inspect hero.glb --json | jq .stance
"""
AXES = {"+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0), "+z": (0, 0, 1), "-z": (0, 0, -1)}
SURE = 0.5
"""Confidence below which a stance should be checked by eye."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "inspect", "show what animax sees in a rig", EXAMPLES)
    parser.add_argument("rig", metavar="RIG", type=existing_file, help="a rigged .glb or .gltf")
    parser.add_argument(
        "--preview", metavar="FILE", type=Path, help="render the rest pose and its markers from the four views (.png)"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON on stdout")
    add_stance(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, report."""
    if options.preview:
        check_output(options.preview, (".png",), "preview")
    from animax.assets import load_rig, read_clips
    from animax.assets.markers import choose_markers

    rig = load_rig(options.rig, facing=options.facing, up=options.up)
    markers = choose_markers(rig)
    clips = read_clips(rig)
    report = describe(rig, markers, clips)
    if options.preview:
        from animax.cli.rest_picture import write_rest_picture

        write_whole(options.preview, lambda part: write_rest_picture(part, rig, markers))
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))
    return DONE


def describe(rig: Rig, markers: MarkerSet, clips: list[Clip]) -> dict[str, Any]:
    """Everything worth knowing, as plain values. Lengths are in the file's units."""
    low, high = rig.rest_box
    skeleton, stance = rig.skeleton, rig.stance
    skins = rig.document.json.get("skins", [])
    drivers = {int(joint) for joint in markers.drivers}
    carried = dict.fromkeys(drivers, 0)
    for joint in markers.joints:
        carried[int(joint)] += 1
    weights = rig.mesh.joint_weights(len(skeleton))
    return {
        "name": rig.name,
        "sha256": rig.sha256,
        "size": {
            "low": low.tolist(),
            "high": high.tolist(),
            "diagonal": rig.size,
            "metres_per_unit": stance.scale,
        },
        "stance": {
            "forward": stance.forward.tolist(),
            "up": stance.up.tolist(),
            "confidence": stance.confidence,
            "source": stance.source,
        },
        "mesh": {
            "vertices": len(rig.mesh.positions),
            "triangles": len(rig.mesh.triangles),
            "materials": len(rig.mesh.materials),
            "skins": len(skins),
        },
        "drivers": len(drivers),
        "markers": len(markers),
        "joints": [
            {
                "name": name,
                "parent": int(skeleton.parents[joint]),
                "deforms": bool(weights[joint] > 0),
                "markers": carried.get(joint, 0),
            }
            for joint, name in enumerate(skeleton.names)
        ],
        "clips": [
            {"name": clip.name, "seconds": clip.seconds, "frames": len(clip), "fps": clip.fps, "loop": clip.loop}
            for clip in clips
        ],
        "warnings": list(rig.warnings),
    }


def lines(report: dict[str, Any]) -> list[str]:
    """A report for people."""
    size, stance, mesh = report["size"], report["stance"], report["mesh"]
    extent = " × ".join(f"{high - low:.3g}" for low, high in zip(size["low"], size["high"], strict=True))
    deforming = sum(joint["deforms"] for joint in report["joints"])
    out = [
        f"{report['name']}  ({report['sha256'][:12]})",
        f"size       {extent}, diagonal {size['diagonal']:.3g}",
        f"mesh       {mesh['vertices']} vertices, {mesh['triangles']} triangles, {mesh['materials']} materials, "
        f"{mesh['skins']} skins",
        f"facing     {axis(stance['forward'])}, up {axis(stance['up'])} ({stance['source']}, "
        f"confidence {stance['confidence']:.2f})",
        f"skeleton   {len(report['joints'])} joints, {deforming} deform, {report['drivers']} drivers with "
        f"{report['markers']} markers",
        *tree(report["joints"]),
    ]
    if size["metres_per_unit"] != 1:
        out.insert(2, f"           one unit seems to be {size['metres_per_unit']:g} m")
    if stance["confidence"] < SURE and stance["source"] != "override":
        out.insert(5, "           not sure which way it faces: look at --preview, and give --facing if it is wrong")
    out.append(f"clips      {len(report['clips'])}")
    for clip in report["clips"]:
        loop = ", loop" if clip["loop"] else ""
        out.append(f"  {clip['name']}: {clip['seconds']:.2f} s, {clip['frames']} frames at {clip['fps']:g} fps{loop}")
    out += [f"warning    {warning}" for warning in report["warnings"]]
    return out


def tree(joints: list[dict[str, Any]]) -> list[str]:
    """The joint tree, children under their parents; ``*`` marks drivers, ``·`` joints that move no vertex."""
    children: dict[int, list[int]] = {}
    for joint, described in enumerate(joints):
        children.setdefault(described["parent"], []).append(joint)
    out = []
    waiting = [(joint, 1) for joint in reversed(children.get(-1, []))]
    while waiting:
        joint, depth = waiting.pop()
        described = joints[joint]
        mark = "*" if described["markers"] else " " if described["deforms"] else "·"
        out.append(f"{'  ' * depth}{mark} {described['name']}")
        waiting += [(child, depth + 1) for child in reversed(children.get(joint, []))]
    return out


def axis(vector: list[float]) -> str:
    """``+z`` where a direction is an axis, else its numbers."""
    for name, unit in AXES.items():
        if all(abs(a - b) < 1e-6 for a, b in zip(vector, unit, strict=True)):
            return name
    return "(" + ", ".join(f"{component:.2f}" for component in vector) + ")"
