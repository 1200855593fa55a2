"""Quaternions and rotation matrices, vectorised over leading dimensions.

Quaternions are (x, y, z, w), unit. Matrices act on column vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

IDENTITY: Array = np.array([0.0, 0.0, 0.0, 1.0])


def multiply(a: ArrayLike, b: ArrayLike) -> Array:
    """Hamilton product: the rotation that applies ``b`` first, then ``a``. Shapes (..., 4), broadcast."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    ax, ay, az, aw = np.moveaxis(a, -1, 0)
    bx, by, bz, bw = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        axis=-1,
    )


def conjugate(q: ArrayLike) -> Array:
    """Inverse of unit quaternions (..., 4)."""
    inverse: Array = np.asarray(q, np.float64) * np.array([-1.0, -1.0, -1.0, 1.0])
    return inverse


def normalise(q: ArrayLike) -> Array:
    """Unit quaternions (..., 4); zero-length and non-finite ones become the identity."""
    q = np.asarray(q, np.float64)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    usable = np.isfinite(length) & (length > 1e-12)
    return np.where(usable, q / np.where(usable, length, 1.0), IDENTITY)


def rotate(q: ArrayLike, v: ArrayLike) -> Array:
    """Rotate vectors ``v`` (..., 3) by unit quaternions ``q`` (..., 4)."""
    q, v = np.asarray(q, np.float64), np.asarray(v, np.float64)
    u, w = q[..., :3], q[..., 3:]
    t = 2.0 * np.cross(u, v)
    return v + w * t + np.cross(u, t)


def to_matrix(q: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4)."""
    x, y, z, w = np.moveaxis(np.asarray(q, np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def from_matrix(m: ArrayLike) -> Array:
    """Unit quaternions (..., 4) of rotation matrices (..., 3, 3), by Shepperd's method (largest component first)."""
    m = np.asarray(m, np.float64)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = np.stack([1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22, 1 + m00 + m11 + m22], axis=-1)
    yz, zx, xy = m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]
    zy, xz, yx = m[..., 1, 2], m[..., 2, 0], m[..., 0, 1]
    candidates = np.stack(
        [
            np.stack([squares[..., 0], xy + yx, zx + xz, yz - zy], axis=-1),
            np.stack([xy + yx, squares[..., 1], yz + zy, zx - xz], axis=-1),
            np.stack([zx + xz, yz + zy, squares[..., 2], xy - yx], axis=-1),
            np.stack([yz - zy, zx - xz, xy - yx, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(squares, axis=-1)
    return normalise(np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :])


def nearest(linear: ArrayLike) -> Array:
    """The rotation matrices (..., 3, 3) nearest to linear maps (..., 3, 3): scale, shear and mirror taken out (polar
    factor by singular values, the least of which gives way where the map mirrors)."""
    u, _, vt = np.linalg.svd(np.asarray(linear, np.float64))
    sign = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    u[..., :, 2] *= sign[..., None]
    return np.asarray(u @ vt)


def orientations(transforms: Array) -> Array:
    """Unit quaternions (..., 4) of how transforms (..., 4, 4) turn: see ``nearest``."""
    return from_matrix(nearest(transforms[..., :3, :3]))


def skew(v: ArrayLike) -> Array:
    """[v]ₓ (..., 3, 3), the matrices of the cross product with v (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(v, np.float64), -1, 0)
    o = np.zeros_like(x)
    return np.stack([np.stack(row, axis=-1) for row in ([o, -z, y], [z, o, -x], [-y, x, o])], axis=-2)


def from_rotation_vector(v: ArrayLike) -> Array:
    """Unit quaternions (..., 4) of rotation vectors (..., 3), radians (exponential map)."""
    v = np.asarray(v, np.float64)
    angle = np.linalg.norm(v, axis=-1, keepdims=True)
    # sin(a/2)/a, by its series near zero
    scale = np.where(angle > 1e-6, np.sin(angle / 2) / np.where(angle > 1e-6, angle, 1.0), 0.5 - angle**2 / 48)
    return np.concatenate([v * scale, np.cos(angle / 2)], axis=-1)


def to_rotation_vector(q: ArrayLike) -> Array:
    """Rotation vectors (..., 3), radians, of length at most pi (logarithm map)."""
    q = np.asarray(q, np.float64)
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., 3:])
    return q[..., :3] * np.where(sine > 1e-9, angle / np.where(sine > 1e-9, sine, 1.0), 2.0)


def between(a: ArrayLike, b: ArrayLike) -> Array:
    """Angle in radians (...,) between unit quaternions (..., 4)."""
    relative = multiply(conjugate(a), b)
    angle: Array = 2 * np.arctan2(np.linalg.norm(relative[..., :3], axis=-1), np.abs(relative[..., 3]))
    return angle


def slerp(a: ArrayLike, b: ArrayLike, s: ArrayLike) -> Array:
    """Spherical interpolation along the shorter arc; ``s`` (...,) in [0, 1]."""
    a = np.asarray(a, np.float64)
    step = to_rotation_vector(multiply(conjugate(a), b))
    return normalise(multiply(a, from_rotation_vector(step * np.asarray(s, np.float64)[..., None])))


def make_continuous(q: ArrayLike) -> Array:
    """Flip signs along the first axis so that neighbouring quaternions (F, ..., 4) have a dot product >= 0."""
    q = np.array(q, np.float64)
    if len(q) > 1:
        flips = np.where(np.sum(q[1:] * q[:-1], axis=-1, keepdims=True) < 0, -1.0, 1.0)
        q[1:] *= np.cumprod(flips, axis=0)
    return q


def shortest_arc(a: ArrayLike, b: ArrayLike) -> Array:
    """The twist-free rotation (swing) that takes direction ``a`` (..., 3) to direction ``b`` (..., 3)."""
    a, b = np.broadcast_arrays(_unit(a), _unit(b))
    w = 1 + np.sum(a * b, axis=-1, keepdims=True)
    # opposite directions: half a turn about any axis perpendicular to a
    helper = np.where(np.abs(a[..., :1]) < 0.6, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    turn = np.concatenate([np.cross(a, helper), np.zeros_like(w)], axis=-1)
    return normalise(np.where(w < 1e-9, turn, np.concatenate([np.cross(a, b), w], axis=-1)))


def _unit(v: ArrayLike) -> Array:
    v = np.asarray(v, np.float64)
    direction: Array = v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
    return direction
