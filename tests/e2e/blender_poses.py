"""Runs in Blender's Python: import a GLB, play one of its animations, write what Blender makes of it.

Arguments: GLB, animation, comma-separated seconds, file to write. The file is an .npz of names (B,) of bones and then
of objects, joints (F, B, 3) their origins, and vertices (F, N, 3) of all meshes, both in glTF's world space.
"""

import sys

import bpy
import numpy as np

TO_GLTF = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Blender is Z up: its (x, y, z) is glTF's (x, z, -y)."""


def play(animation):
    """Make every object follow its part of one glTF animation, and nothing else."""
    for thing in bpy.data.objects:
        data = thing.animation_data
        if data is None:
            continue
        data.use_nla = False
        data.action = None
        for track in data.nla_tracks:
            if track.name == animation:
                data.action = track.strips[0].action
                data.action_slot = track.strips[0].action_slot


def heads():
    bones = [armature.matrix_world @ bone.matrix for armature in armatures for bone in armature.pose.bones]
    return [place.translation[:] for place in [*bones, *(thing.matrix_world for thing in objects)]]


def deformed_vertices():
    graph = bpy.context.evaluated_depsgraph_get()
    out = []
    for thing in meshes:
        evaluated = thing.evaluated_get(graph)
        mesh = evaluated.to_mesh()
        local = np.empty(3 * len(mesh.vertices))
        mesh.vertices.foreach_get("co", local)
        world = np.array(evaluated.matrix_world)
        out.append(local.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])
        evaluated.to_mesh_clear()
    return np.concatenate(out) if out else np.zeros((0, 3))


source, animation, seconds, target = sys.argv[1:5]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 100
bpy.ops.import_scene.gltf(filepath=source)
play(animation)
# the importer adds a sphere to draw bones with
objects = [thing for thing in bpy.data.objects if "glTF_not_exported" not in [c.name for c in thing.users_collection]]
armatures = [thing for thing in objects if thing.type == "ARMATURE"]
meshes = [thing for thing in objects if thing.type == "MESH"]
joints, vertices = [], []
for second in map(float, seconds.split(",")):
    frame = second * scene.render.fps
    scene.frame_set(int(frame), subframe=frame - int(frame))
    joints.append(heads())
    vertices.append(deformed_vertices())
np.savez(
    target,
    names=[*(bone.name for armature in armatures for bone in armature.pose.bones), *(thing.name for thing in objects)],
    joints=np.array(joints) @ TO_GLTF.T,
    vertices=np.array(vertices) @ TO_GLTF.T,
)
