"""The paper's two stages on a large pretrained network (§ 3.3, appendix A.2), with its open points as fields."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from animax.errors import OptionError
from animax_engine.network import VideoPoseTransformer

ADAPTED = r"blocks\.\d+\.((self_attn|cross_attn)\.(q|k|v|o)|ffn\.(0|2))"
"""Linear layers that get an adapter, as peft's pattern of their names."""
MODALITY = ("modality_embedding.",)
"""What stage 1 trains whole."""
VIEWS = ("view_attn.", "ray_embedding.", "view_embedding")
"""What stage 2 trains."""


@dataclass(frozen=True)
class Recipe:
    """How a stage is trained. Where the paper says nothing, the default is ours; the network's own open points are
    fields of ``NetworkConfig``.

    Attributes:
        stage: 1, LoRA and modality embedding on single views; 2, rays and cross-view attention, all else frozen (both
            from the paper).
        adapted: linear layers that get a LoRA adapter, as a pattern of their names: by default all of the attention
            within views and to the text, and of the feed-forward layers. Not in the paper.
        rank: of the adapters. Not in the paper.
        alpha: their scale is alpha / rank. Not in the paper.
        rate: learning rate; the paper's 5e-5.
        view_start: what fresh attention across views starts from: the attention "within" views as stage 1 left it, but
            for its output, which is zero; or a "random" start. Not in the paper.
        warmup: steps. Not in the paper.
        weight_decay: not in the paper.
        drop_image: share of samples whose template views are zero, of both modalities at once; the paper's 20 %.
        drop_text: share of samples without prompt, for guidance. Not in the paper.
        shift: of the noise levels towards noise (Wan: 5 at 480 pixels): σ = s u / (1 + (s − 1) u).
        sigma_std: u is the logistic of a normal number with this deviation. Not in the paper.
        pose_weight: of the pose maps' loss against the pictures'. Not in the paper.
        clip_norm: of gradients. Not in the paper.
        seed: of noise, noise levels and dropping.
    """

    stage: Literal[1, 2] = 1
    adapted: str = ADAPTED
    rank: int = 64
    alpha: int = 64
    rate: float = 5e-5
    view_start: Literal["within", "random"] = "within"
    warmup: int = 100
    weight_decay: float = 0.01
    drop_image: float = 0.2
    drop_text: float = 0.1
    shift: float = 5.0
    sigma_std: float = 1.0
    pose_weight: float = 1.0
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stage not in (1, 2):
            raise OptionError("stage", self.stage, "1 or 2")
        if self.view_start not in ("within", "random"):
            raise OptionError("view_start", self.view_start, "within, random")
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise OptionError(name, getattr(self, name), "1 or more")
        for name in ("rate", "shift", "sigma_std", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise OptionError(name, getattr(self, name), "a number above zero")
        for name in ("warmup", "weight_decay", "pose_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(name, getattr(self, name), "zero or more")
        for name in ("drop_image", "drop_text"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(name, getattr(self, name), "0 to 1")

    @property
    def views(self) -> int:
        """Views of a sample."""
        return 1 if self.stage == 1 else 4

    def sigmas(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise levels (count,)."""
        u = torch.sigmoid(torch.randn(count, generator=generator) * self.sigma_std)
        return self.shift * u / (1 + (self.shift - 1) * u)


def prepare(network: VideoPoseTransformer, recipe: Recipe) -> list[str]:
    """Freeze ``network`` but for what the stage trains; stage 1 adds the adapters. Gives the trained names.

    Raises:
        OptionError: ``adapted`` names no layer.
    """
    network.requires_grad_(False)
    if recipe.stage == 1:
        config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=recipe.adapted, lora_dropout=0.0)
        try:
            inject_adapter_in_model(config, network)
        except (ValueError, re.error) as error:  # of peft: none is of that name
            raise OptionError("adapted", recipe.adapted, "a pattern of names of linear layers") from error
    whole = MODALITY if recipe.stage == 1 else VIEWS
    for name, parameter in network.named_parameters():
        if any(part in name for part in whole):
            parameter.requires_grad_(True)
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def merge_adapters(network: nn.Module) -> None:
    """Add every adapter to the layer it adapts and remove it: the network is of its original layers again."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, LoraLayer):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())


def start_view_attention(network: VideoPoseTransformer) -> None:
    """Give fresh attention across views the weights of the attention within views, but for its output, which stays
    zero: at first the views do not see each other, and what they will see is of use from the first step. What is no
    longer fresh, whose output is not zero, stays as it is."""
    with torch.no_grad():
        for block in network.blocks:
            if block.crosses_views and not block.view_attn.o.weight.any():
                for part in ("q", "k", "v", "norm_q", "norm_k"):
                    getattr(block.view_attn, part).load_state_dict(getattr(block.self_attn, part).state_dict())
