"""Principal components of the training data, for a network's streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from animax_engine.dataset.batches import Batches, drawn_motion, drawn_plan, picture_latents
from animax_engine.network import SMALLEST_VARIANCE, PrincipalComponents, VideoPoseTransformer

OVERSAMPLING = 8
"""Directions beyond those wanted, so that the last of these are exact too (Halko et al. 2011, § 1.3)."""


Draw = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""Random samples: latents (B, V, F, C, H, W) less those of the rest pose or of a plan, what each counts (B,), and which
of the components' places (B, P) are in use."""


def principal_components(draw: Draw, components: PrincipalComponents, draws: int) -> Tensor:
    """Basis (K, width of a part) of ``draws`` times what ``draw`` gives. About zero, not the mean: zero is the rest
    pose. First slots, which hold a single frame, have no say in it."""
    _, patches = drawn_patches(draw, components, draws)
    wanted = components.stream.components
    _, _, vectors = torch.svd_lowrank(patches, q=min(wanted + OVERSAMPLING, *patches.shape), niter=4)
    return vectors[:, :wanted].T.contiguous()


def variances(draw: Draw, components: PrincipalComponents, basis: Tensor, draws: int) -> Tensor:
    """(2, K) variance about zero along a basis, of first slots and of the others."""
    return torch.stack([variance(patches, basis) for patches in drawn_patches(draw, components, draws)])


def drawn_patches(draw: Draw, components: PrincipalComponents, draws: int) -> tuple[Tensor, Tensor]:
    """Patches (N, width of a part) that are in use, of first slots and of the others."""
    firsts, others = [], []
    for _ in range(draws):
        latents, weight, used = draw()
        patches = components.patches(latents) * weight.sqrt()[:, None, None, None, None]
        patches = patches.movedim(3, 1)[used]  # (parts in use, V, S, width)
        firsts.append(patches[:, :, 0].flatten(0, 1))
        others.append(patches[:, :, 1:].flatten(0, 2))
    return torch.cat(firsts), torch.cat(others)


def variance(patches: Tensor, basis: Tensor) -> Tensor:
    """(K,) about zero of the components of patches (N, width of a part)."""
    return F.linear(patches, basis).square().mean(dim=0).clamp(min=SMALLEST_VARIANCE)


def fit_components(
    network: VideoPoseTransformer,
    batches: Batches,
    streams: Sequence[str],
    draws: int = 40,
    batch: int = 256,
) -> None:
    """Set the components of some ``streams`` of ``network`` from random single-view samples.

    The basis is that of the motion; variances are of what differs from the plan, where there is one.

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

    def unplanned() -> tuple[Tensor, Tensor, Tensor]:
        drawn = batches.draw(batch, 1, joint=False)
        motion, plan = drawn_motion(drawn, batches.space)[2], drawn_plan(drawn, batches.space)
        return motion if plan is None else motion - plan, drawn.weight, drawn.mask > 0

    def rgb() -> tuple[Tensor, Tensor, Tensor]:
        pictures = batches.draw(batch, 1, joint=True).rgb
        assert pictures is not None
        latents, places = picture_latents(pictures), network.config.rgb.grid**2
        return latents[:, :, 1:] - latents[:, :, :1], torch.ones(batch), torch.ones(batch, places, dtype=torch.bool)

    for name in streams:
        components = network.components[name]
        assert isinstance(components, PrincipalComponents)
        if name == "rgb" and batches.rgb is None:
            continue
        all_of_it, left, count = (pose, unplanned, draws // 4) if name == "pose" else (rgb, rgb, draws)
        basis = principal_components(all_of_it, components, count)
        components.fit(basis, variances(left, components, basis, count))
