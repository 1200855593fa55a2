"""Blender and Godot as oracles: where a foreign importer puts the joints of a GLB's animation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.assets import Rig
from animax.motion.clip import Clip

HERE = Path(__file__).resolve().parent
GODOT_IMPORT = """[remap]
importer="scene"
type="PackedScene"
[deps]
source_file="res://rig.glb"
[params]
animation/import=true
animation/fps={fps}
animation/optimizer/enabled=false
"""


@dataclass(frozen=True)
class Poses:
    """What an engine shows.

    Attributes:
        joints: (F, 3) world positions over time of each bone and node, by its name as ``plain`` leaves it.
        vertices: (F, N, 3) skinned vertices, in no particular order; None where the engine does not tell.
    """

    joints: dict[str, NDArray[np.float64]]
    vertices: NDArray[np.float64] | None = None


def in_blender(python: Path, glb: Path, animation: str, seconds: Sequence[float], scratch: Path) -> Poses:
    """Play ``animation`` of ``glb`` in Blender and look at the given times."""
    target = scratch / "blender.npz"
    command = [str(python), str(HERE / "blender_poses.py"), str(glb), animation, _listed(seconds), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert target.is_file(), f"Blender wrote nothing:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    with np.load(target) as out:
        return Poses(_named(map(str, out["names"]), out["joints"]), out["vertices"])


def in_godot(godot: str, glb: Path, animation: str, seconds: Sequence[float], fps: float, scratch: Path) -> Poses:
    """Play ``animation`` of ``glb`` in Godot 3 and look at the given times.

    Godot samples animations anew when it imports them: at ``fps``, which should be the clip's own.
    """
    project, target = scratch / "project", scratch / "godot.json"
    project.mkdir()
    (project / "project.godot").write_text("config_version=4\n")
    (project / "rig.glb").write_bytes(glb.read_bytes())
    (project / "rig.glb.import").write_text(GODOT_IMPORT.format(fps=fps))
    (project / "poses.gd").write_text((HERE / "godot_poses.gd").read_text())
    home = {**os.environ, "HOME": str(scratch)}
    _import_project(godot, project, home)
    command = [godot, "--path", str(project), "-s", "poses.gd", "--", animation, _listed(seconds), str(target)]
    done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=120)
    assert target.is_file(), f"Godot wrote nothing:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    out = json.loads(target.read_text())
    assert animation in out["animations"], f"Godot has {out['animations']}, not {animation!r}"
    return Poses(_named(out["names"], np.array(out["joints"])))


def plain(bone: str) -> str:
    """A bone's name without what importers change: case, punctuation, leading zeros of numbers."""
    return re.sub(r"0+(\d)", r"\1", re.sub(r"[^a-z0-9]", "", bone.lower()))


def joint_difference(rig: Rig, clip: Clip, frames: NDArray[np.int64], seen: Poses) -> float:
    """Between forward kinematics of a clip's frames and what an engine shows: the largest of any joint, in sizes of the
    rig. Every joint that moves vertices must be there.
    """
    ours = rig.skeleton.positions(clip.pose[frames])
    weights = rig.mesh.joint_weights(len(rig.skeleton))
    names = [plain(name) for name in rig.skeleton.names]
    assert not [name for name, weight in zip(names, weights, strict=True) if weight > 0 and name not in seen.joints]
    shared = [(joint, name) for joint, name in enumerate(names) if name in seen.joints]
    return max(float(np.abs(ours[:, joint] - seen.joints[name]).max()) for joint, name in shared) / rig.size


def _import_project(godot: str, project: Path, environment: dict[str, str]) -> None:
    """Import by the editor, which then hangs in its shutdown: wait for its mark, then end it."""
    editor = subprocess.Popen(
        [godot, "--path", str(project), "--editor", "--quit"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not list((project / ".import").glob("rig.glb-*.md5")):
            assert time.monotonic() < deadline, "Godot did not import the GLB within two minutes"
            assert editor.poll() is None, f"Godot's editor ended with {editor.returncode} before it had imported"
            time.sleep(0.05)
    finally:
        editor.kill()
        editor.wait()


def _named(names: Iterable[str], joints: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Bones come first in ``names``: of a bone and a node of one name, the bone is meant."""
    named: dict[str, NDArray[np.float64]] = {}
    for i, name in enumerate(names):
        named.setdefault(plain(name), joints[:, i])
    return named


def _listed(seconds: Sequence[float]) -> str:
    return ",".join(f"{second:.6f}" for second in seconds)
