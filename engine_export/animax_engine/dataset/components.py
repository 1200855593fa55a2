"""Principal components of the training data, for a network's streams."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from animax_engine.dataset.batches import Batches, draw_splats, picture_latents
from animax_engine.network import PrincipalComponents, Stream, VideoPoseTransformer, to_patches

OVERSAMPLING = 8
"""Directions beyond those wanted, so that the last of these are exact too (Halko et al. 2011, § 1.3)."""


def principal_components(draw: Callable[[], Tensor], stream: Stream, draws: int) -> tuple[Tensor, Tensor]:
    """Basis (K, patch_width) and variances (K,) of ``draws`` times what ``draw`` gives: latents (B, V, F, C, H, W) less
    the template's. About zero, not the mean: zero is the rest pose. First slots, which hold a single frame, are left
    out."""
    patches = torch.cat([to_patches(draw(), stream)[:, :, 1:].flatten(0, 3) for _ in range(draws)])
    count = stream.components
    _, values, vectors = torch.svd_lowrank(patches, q=min(count + OVERSAMPLING, *patches.shape), niter=4)
    return vectors[:, :count].T.contiguous(), (values[:count].square() / len(patches)).clamp(min=1e-6)


def fit_components(network: VideoPoseTransformer, batches: Batches, draws: int = 40, batch: int = 256) -> None:
    """Set the components of every stream of ``network`` from random single-view samples."""

    def pose() -> Tensor:
        drawn = batches.draw(batch, 1, joint=False)
        maps = draw_splats(drawn.points, drawn.mask, batches.space)
        return maps[:, :, 1:] - maps[:, :, :1]

    def rgb() -> Tensor:
        pictures = batches.draw(batch, 1, joint=True).rgb
        assert pictures is not None
        latents = picture_latents(pictures)
        return latents[:, :, 1:] - latents[:, :, :1]

    draw = {"pose": pose, "rgb": rgb}
    for name, components in network.components.items():
        if name == "rgb" and batches.rgb is None:
            continue
        assert isinstance(components, PrincipalComponents)
        components.basis, components.variance = principal_components(draw[name], components.stream, draws)
