"""Principal components of the training data, for a network's streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from animax_engine.dataset.batches import Batches, drawn_motion, picture_latents
from animax_engine.network import SMALLEST_VARIANCE, PrincipalComponents, VideoPoseTransformer

OVERSAMPLING = 8
"""Directions beyond those wanted, so that the last of these are exact too (Halko et al. 2011, § 1.3)."""


def principal_components(
    draw: Callable[[], tuple[Tensor, Tensor, Tensor]], components: PrincipalComponents, draws: int
) -> tuple[Tensor, Tensor]:
    """Basis (K, width of a part) and variances (2, K), of first slots and of the others, of ``draws`` times what
    ``draw`` gives. About zero, not the mean: zero is the rest pose. First slots, which hold a single frame, have no say
    in the basis.

    Args:
        draw: random samples: latents (B, V, F, C, H, W) less those of the rest pose, what each counts (B,), and which
            of the components' places (B, P) are in use.
        components: of which kind they are to be.
        draws: how often.
    """
    firsts, others = [], []
    for _ in range(draws):
        latents, weight, used = draw()
        patches = components.patches(latents) * weight.sqrt()[:, None, None, None, None]
        patches = patches.movedim(3, 1)[used]  # (parts in use, V, S, width)
        firsts.append(patches[:, :, 0].flatten(0, 1))
        others.append(patches[:, :, 1:].flatten(0, 2))
    patches, wanted = torch.cat(others), components.stream.components
    _, _, vectors = torch.svd_lowrank(patches, q=min(wanted + OVERSAMPLING, *patches.shape), niter=4)
    basis = vectors[:, :wanted].T.contiguous()
    return basis, torch.stack([variance(torch.cat(firsts), basis), variance(patches, basis)])


def variance(patches: Tensor, basis: Tensor) -> Tensor:
    """(K,) about zero of the components of patches (N, width of a part)."""
    return F.linear(patches, basis).square().mean(dim=0).clamp(min=SMALLEST_VARIANCE)


def fit_components(
    network: VideoPoseTransformer, batches: Batches, streams: Sequence[str], draws: int = 40, batch: int = 256
) -> None:
    """Set the components of some ``streams`` of ``network`` from random single-view samples.

    Args:
        network: whose components are set.
        batches: to draw from.
        streams: "pose", "rgb"; the latter is left as it is where there are no renders.
        draws: batches of ``batch`` samples; a quarter of them for pose, of which every marker is a sample.
        batch: samples.
    """

    def pose() -> tuple[Tensor, Tensor, Tensor]:
        drawn = batches.draw(batch, 1, joint=False)
        return drawn_motion(drawn, batches.space)[2], drawn.weight, drawn.mask > 0

    def rgb() -> tuple[Tensor, Tensor, Tensor]:
        pictures = batches.draw(batch, 1, joint=True).rgb
        assert pictures is not None
        latents, places = picture_latents(pictures), network.config.rgb.grid**2
        return latents[:, :, 1:] - latents[:, :, :1], torch.ones(batch), torch.ones(batch, places, dtype=torch.bool)

    for name in streams:
        components = network.components[name]
        assert isinstance(components, PrincipalComponents)
        if name == "pose":
            components.fit(*principal_components(pose, components, draws // 4))
        elif batches.rgb is not None:
            components.fit(*principal_components(rgb, components, draws))
