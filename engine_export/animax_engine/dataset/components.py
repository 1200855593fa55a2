"""Principal components of the training data, for a network's streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from animax_engine.dataset.batches import Batches, drawn_motion, picture_latents
from animax_engine.network import SMALLEST_VARIANCE, PrincipalComponents, Stream, VideoPoseTransformer, to_patches

OVERSAMPLING = 8
"""Directions beyond those wanted, so that the last of these are exact too (Halko et al. 2011, § 1.3)."""


def principal_components(
    draw: Callable[[], tuple[Tensor, Tensor]], stream: Stream, draws: int, known: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Basis (K, patch_width) and variances (2, K), of first slots and of the others, of ``draws`` times what ``draw``
    gives: latents (B, V, F, C, H, W) less those of the rest pose, and what each sample counts (B,). About zero, not
    the mean: zero is the rest pose. First slots, which hold a single frame, have no say in the basis.

    Args:
        draw: random samples.
        stream: of the latents.
        draws: how often.
        known: (k, patch_width) components that stay; what they leave decides on the others.
    """
    firsts, others, counts = [], [], []
    for _ in range(draws):
        latents, weight = draw()
        patches = to_patches(latents, stream)
        firsts.append(patches[:, :, 0].flatten(0, 2))
        others.append(patches[:, :, 1:].flatten(0, 3))
        counts.append(weight.sqrt().repeat_interleave(len(others[-1]) // len(weight)))
    patches, scaled = torch.cat(others), torch.cat(others) * torch.cat(counts)[:, None]
    if known is not None:
        scaled -= F.linear(scaled, known) @ known
    wanted = stream.components - (0 if known is None else len(known))
    _, _, vectors = torch.svd_lowrank(scaled, q=min(wanted + OVERSAMPLING, *patches.shape), niter=4)
    found = vectors[:, :wanted].T
    basis = found.contiguous() if known is None else torch.cat([known, found])
    variances = torch.stack([variance(torch.cat(firsts), basis), variance(patches, basis)])
    return basis, variances


def variance(patches: Tensor, basis: Tensor) -> Tensor:
    """(K,) about zero of the components of patches (N, patch_width)."""
    return F.linear(patches, basis).square().mean(dim=0).clamp(min=SMALLEST_VARIANCE)


def fit_components(
    network: VideoPoseTransformer, batches: Batches, known: Mapping[str, int], draws: int = 40, batch: int = 256
) -> None:
    """Set the components of the streams of ``network`` from random single-view samples.

    Args:
        network: whose components are set.
        batches: to draw from.
        known: by stream, how many components are there already and stay, with their variances.
        draws: batches of ``batch`` samples.
        batch: samples.
    """

    def pose() -> tuple[Tensor, Tensor]:
        drawn = batches.draw(batch, 1, joint=False)
        return drawn_motion(drawn, batches.space)[2], drawn.weight

    def rgb() -> tuple[Tensor, Tensor]:
        pictures = batches.draw(batch, 1, joint=True).rgb
        assert pictures is not None
        latents = picture_latents(pictures)
        return latents[:, :, 1:] - latents[:, :, :1], torch.ones(batch)

    draw = {"pose": pose, "rgb": rgb}
    for name, components in network.components.items():
        kept = known.get(name, 0)
        if kept == components.stream.components or (name == "rgb" and batches.rgb is None):
            continue
        assert isinstance(components, PrincipalComponents)
        basis, variances = principal_components(
            draw[name], components.stream, draws, components.basis[:kept] if kept else None
        )
        variances[:, :kept] = components.variance[:, :kept]
        components.fit(basis, variances)
