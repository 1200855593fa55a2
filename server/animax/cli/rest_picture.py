"""One picture of a rig at rest: its template views, with the drivers' bones and markers on them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from animax.assets.markers import MarkerKind, MarkerSet
from animax.assets.rig import Rig
from animax.views.camera import AZIMUTHS, template_cameras
from animax.views.picture_files import write_pictures
from animax.views.render import render
from animax.views.rgb import maximin_palette

SIZE = 360
"""Pixels of a view."""
SIDES = {0: "front", 90: "left side", 180: "back", 270: "right side"}
INK = (40, 40, 40)
SHIFT = 4
"""Bits of a pixel that OpenCV draws to."""


def write_rest_picture(path: Path, rig: Rig, markers: MarkerSet) -> None:
    """Write a PNG with the views side by side.

    Markers have the colours of their channels: dots are joints, rings virtual tails, squares points off the axis. When
    the views' names do not fit what they show, the stance is wrong and ``--facing`` mends it.
    """
    cameras = template_cameras(rig, size=SIZE)
    views = render(rig.mesh, rig.rest_vertices, cameras, up=rig.stance.up).rgb
    points, _ = cameras.project(markers.positions(rig.skeleton.rest_globals))
    heads, _ = cameras.project(rig.skeleton.rest_globals[markers.drivers, :3, 3])
    colours = np.rint(255 * maximin_palette(int(markers.channels.max()) + 1)).astype(int)
    for view, azimuth in enumerate(AZIMUTHS):
        picture = np.ascontiguousarray(views[view] // 2 + 110)
        for driver, parent in enumerate(markers.driver_parents):
            if parent >= 0:
                line = fixed(heads[view, driver]), fixed(heads[view, parent])
                cv2.line(picture, *line, INK, 1, cv2.LINE_AA, SHIFT)
        for marker, kind in enumerate(markers.kinds):
            draw(picture, points[view, marker], MarkerKind(kind), colours[markers.channels[marker]].tolist())
        name = SIDES.get(round(azimuth), f"{azimuth:g} degrees")
        cv2.putText(picture, name, (10, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
        views[view] = picture
    write_pictures(path, views, 1.0, columns=len(views))


def draw(picture: np.ndarray, at: np.ndarray, kind: MarkerKind, colour: list[int]) -> None:
    """Draw one marker."""
    if kind == MarkerKind.OFF_AXIS:
        corner = np.array([3.0, 3.0])
        cv2.rectangle(picture, fixed(at - corner), fixed(at + corner), colour, -1, cv2.LINE_AA, SHIFT)
        return
    radius = 4 << SHIFT
    if kind == MarkerKind.HEAD:
        cv2.circle(picture, fixed(at), radius, colour, -1, cv2.LINE_AA, SHIFT)
    cv2.circle(picture, fixed(at), radius, INK if kind == MarkerKind.HEAD else colour, 1, cv2.LINE_AA, SHIFT)


def fixed(point: np.ndarray) -> tuple[int, int]:
    """A point (2,) in OpenCV's fixed-point coordinates; its pixel centres are at whole numbers, ours at halves."""
    x, y = np.rint((point - 0.5) * (1 << SHIFT)).astype(int)
    return int(x), int(y)
