"""Principal components of the training data, for a network's streams."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from animax_engine.dataset.batches import Batches, draw_splats, picture_latents
from animax_engine.network import SMALLEST_VARIANCE, PrincipalComponents, Stream, VideoPoseTransformer, to_patches

OVERSAMPLING = 8
"""Directions beyond those wanted, so that the last of these are exact too (Halko et al. 2011, § 1.3)."""


def principal_components(draw: Callable[[], Tensor], stream: Stream, draws: int) -> tuple[Tensor, Tensor]:
    """Basis (K, patch_width) and variances (2, K), of first slots and of the others, of ``draws`` times what ``draw``
    gives: latents (B, V, F, C, H, W) less the template's. About zero, not the mean: zero is the rest pose. First slots,
    which hold a single frame, have no say in the basis."""
    firsts, others = [], []
    for _ in range(draws):
        patches = to_patches(draw(), stream)
        firsts.append(patches[:, :, 0].flatten(0, 2))
        others.append(patches[:, :, 1:].flatten(0, 3))
    patches, count = torch.cat(others), stream.components
    _, _, vectors = torch.svd_lowrank(patches, q=min(count + OVERSAMPLING, *patches.shape), niter=4)
    basis = vectors[:, :count].T.contiguous()
    variances = torch.stack([variance(torch.cat(firsts), basis), variance(patches, basis)])
    return basis, variances


def variance(patches: Tensor, basis: Tensor) -> Tensor:
    """(K,) about zero of the components of patches (N, patch_width)."""
    return F.linear(patches, basis).square().mean(dim=0).clamp(min=SMALLEST_VARIANCE)


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
        components.fit(*principal_components(draw[name], components.stream, draws))
