"""Names and layouts of Wan2.1's weights: the ones of its authors, of diffusers, and ours.

    ours                     original                diffusers
    pose_embedding           patch_embedding         patch_embedding          a convolution is a linear layer on patches
    text_embedding.0         text_embedding.0        condition_embedder.text_embedder.linear_1
    blocks.0.self_attn.q     blocks.0.self_attn.q    blocks.0.attn1.to_q
    pose_head                head.head               proj_out                 channels first, not last
    modulation               head.modulation         scale_shift_table

RGB and pose latents come from one VAE and share Wan's patch embedding and head, which our network calls
``pose_embedding`` and ``pose_head``.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from animax_engine.network import NetworkConfig

Naming = Literal["diffusers", "original"]
Layout = Literal["same", "patch", "head", "table"]

ADDITIONS = ("modality_embedding.", "ray_embedding.", "view_embedding", "view_attn.")
"""What stands in the names of weights that Wan does not have."""

_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
_TRUNK = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
}


@dataclass(frozen=True)
class Weight:
    """One weight under its three names.

    Attributes:
        layout: how Wan's tensor becomes ours: unchanged, a convolution's kernel (d, C, t, h, w) as a matrix, the rows
            of the head (t, h, w, C) as (C, t, h, w), or a modulation table (1, 6, d) with an axis more.
    """

    ours: str
    original: str
    diffusers: str
    layout: Layout = "same"

    def name(self, naming: Naming) -> str:
        """The name in files of ``naming``."""
        return self.diffusers if naming == "diffusers" else self.original

    def to_ours(self, tensor: Tensor, config: NetworkConfig) -> Tensor:
        """Wan's tensor as ours."""
        patch = config.pose.patch
        if self.layout == "patch":
            return tensor.flatten(1)
        if self.layout == "head":
            return tensor.unflatten(0, (math.prod(patch), -1)).transpose(0, 1).flatten(0, 1)
        return tensor[None] if self.layout == "table" else tensor

    def to_wan(self, tensor: Tensor, config: NetworkConfig) -> Tensor:
        """The inverse of ``to_ours``."""
        patch = config.pose.patch
        if self.layout == "patch":
            return tensor.unflatten(1, (config.pose.channels, *patch))
        if self.layout == "head":
            return tensor.unflatten(0, (config.pose.channels, -1)).transpose(0, 1).flatten(0, 1)
        return tensor[0] if self.layout == "table" else tensor

    def wan_shape(self, shape: tuple[int, ...], config: NetworkConfig) -> tuple[int, ...]:
        """The shape in Wan's files of our weight of ``shape``."""
        if self.layout == "patch":
            return (shape[0], config.pose.channels, *config.pose.patch)
        return shape[1:] if self.layout == "table" else shape


def key_map(config: NetworkConfig) -> list[Weight]:
    """Every weight of a Wan model of this size."""
    names = dict(_TRUNK)
    weights = [
        Weight("pose_embedding.weight", "patch_embedding.weight", "patch_embedding.weight", "patch"),
        Weight("pose_embedding.bias", "patch_embedding.bias", "patch_embedding.bias"),
        Weight("pose_head.weight", "head.head.weight", "proj_out.weight", "head"),
        Weight("pose_head.bias", "head.head.bias", "proj_out.bias", "head"),
        Weight("modulation", "head.modulation", "scale_shift_table", "table"),
    ]
    norms = []
    for i in range(config.depth):
        block = f"blocks.{i}"
        weights.append(Weight(f"{block}.modulation", f"{block}.modulation", f"{block}.scale_shift_table", "table"))
        for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2")):
            for part, other in _ATTENTION.items():
                name = f"{block}.{ours}.{part}"
                if part.startswith("norm"):
                    norms.append(Weight(f"{name}.weight", f"{name}.weight", f"{block}.{theirs}.{other}.weight"))
                else:
                    names[name] = f"{block}.{theirs}.{other}"
        names[f"{block}.norm3"] = f"{block}.norm2"
        names[f"{block}.ffn.0"] = f"{block}.ffn.net.0.proj"
        names[f"{block}.ffn.2"] = f"{block}.ffn.net.2"
    pairs = [
        Weight(f"{name}.{kind}", f"{name}.{kind}", f"{other}.{kind}")
        for name, other in names.items()
        for kind in ("weight", "bias")
    ]
    return weights + norms + pairs


def naming_of(names: Collection[str]) -> Naming | None:
    """Which names a file uses; None for neither."""
    if any(name.startswith("condition_embedder.") for name in names):
        return "diffusers"
    return "original" if any(name.startswith("time_projection.") for name in names) else None
