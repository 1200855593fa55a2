"""VideoPoseTransformer: the joint video-pose diffusion transformer (paper § 3.2, appendix A.2).

A transformer laid out as Wan2.1's, plus what AnimaX adds: RGB and pose tokens in one sequence per view, rotary
positions shared by the two tokens of one place, a modality embedding in the timestep embedding, Plücker rays, and
attention across views.

Symbols: B batch, V views, F frames, S time slots of a sequence (1 + (F-1)/patch), N tokens of a view, d width.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from animax.diffusion.latents import LatentSpace
from animax.errors import ModelError
from animax.views.splat import SplatPoseMap, spline_weights


@dataclass(frozen=True)
class Stream:
    """One modality's latents and how they become tokens.

    Attributes:
        channels: C.
        size: height and width of a latent frame.
        patch: frames, rows and columns of a token. With more than one frame a slot, the first slot holds frame 0 alone
            (causal layout, F = 1 + k · frames).
        components: principal components of what differs from the rest pose, see ``PrincipalComponents``: of an RGB
            patch, and of each marker's part of a pose patch; 0: tokens are the patches themselves.
    """

    channels: int
    size: int
    patch: tuple[int, int, int]
    components: int = 0

    @property
    def grid(self) -> int:
        """Tokens along a side of a frame."""
        return self.size // self.patch[1]

    @property
    def patch_width(self) -> int:
        """Numbers in a patch."""
        return self.channels * math.prod(self.patch)

    @property
    def token_width(self) -> int:
        """Numbers that the trunk is given of a patch, and gives back."""
        return self.components or self.patch_width

    @property
    def frame(self) -> Stream:
        """The same stream with tokens of a single frame, as the template's are."""
        return Stream(self.channels, self.size, (1, *self.patch[1:]))


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and switches of a ``VideoPoseTransformer``.

    Attributes:
        rgb, pose: the two streams; equal token grids. Equal streams share one patch embedding and head, as two
            latents of one VAE do.
        width, depth, heads, ffn: trunk. ffn is the inner width of the feed-forward layers.
        text_width: width of the text encoder's tokens.
        frequencies: width of the sinusoidal encodings of noise level and modality.
        time_scale: factor from noise level in [0, 1] to the sinusoid's argument (Wan: 1000).
        text_scale: factor on the text's tokens, to bring unit vectors to unit variance.
        prediction: what the head gives: the clean latents, or the velocity noise − latents.
        pooled_text: add the text's first token to the timestep embedding.
        condition_time: noise level that the template's tokens are told: "clean", or "shared" with the noisiest slot.
        multi_view: cross-view attention and rays (stage 2). Off: views do not see each other.
        view_every: blocks from one cross-view attention to the next.
        view_positions: rotary positions across views: the place in the token "grid", or "none".
        view_modulation: cross-view attention sees its input under the "block"'s shift and scale, or "none".
        view_embedding: views that have a learned embedding, added before cross-view attention; 0 for none.
        joint: RGB tokens take part; off is the pose-only ablation.
        shared_positions, modality_embedding, rays: ablations of the paper's Table 4 and of its camera conditioning.
        marker_width: of what the network knows of each marker, see ``Markers``; 0 where pose has no components.
    """

    rgb: Stream
    pose: Stream
    width: int
    depth: int
    heads: int
    ffn: int
    text_width: int
    frequencies: int = 256
    time_scale: float = 1000.0
    text_scale: float = 1.0
    prediction: Literal["clean", "velocity"] = "clean"
    pooled_text: bool = True
    condition_time: Literal["clean", "shared"] = "clean"
    multi_view: bool = True
    view_every: int = 1
    view_positions: Literal["grid", "none"] = "grid"
    view_modulation: Literal["block", "none"] = "block"
    view_embedding: int = 0
    joint: bool = True
    shared_positions: bool = True
    modality_embedding: bool = True
    rays: bool = True
    marker_width: int = 0

    @property
    def latent_space(self) -> LatentSpace:
        """Of splat pose maps and small pictures."""
        return LatentSpace(SplatPoseMap(self.pose.channels, self.pose.size), self.rgb.size)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        """The inverse of ``as_dict``.

        Raises:
            ModelError: the values are those of another version.
        """
        try:
            streams = {k: Stream(**{**values[k], "patch": tuple(values[k]["patch"])}) for k in ("rgb", "pose")}
            return cls(**{**values, **streams})
        except (KeyError, TypeError) as error:
            raise ModelError(f"the network is of another version: {error}") from error

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests and checkpoints."""
        return asdict(self)


EMBEDDED = NetworkConfig(
    rgb=Stream(channels=3, size=24, patch=(8, 24, 24), components=128),
    pose=Stream(channels=64, size=4, patch=(8, 4, 4), components=16),
    width=192,
    depth=6,
    heads=3,
    ffn=576,
    text_width=384,
    text_scale=384**0.5,
    marker_width=128,
)
"""Ships with the package and runs on two CPU cores."""

_WAN_LATENTS = Stream(channels=16, size=60, patch=(1, 2, 2))
WAN_1_3B = NetworkConfig(
    rgb=_WAN_LATENTS,
    pose=_WAN_LATENTS,
    width=1536,
    depth=30,
    heads=12,
    ffn=8960,
    text_width=4096,
    prediction="velocity",
    pooled_text=False,
)
"""The shape of Wan2.1-T2V-1.3B at 480 × 480 pixels (8 × smaller latents)."""


def sinusoid(values: Tensor, width: int) -> Tensor:
    """Frequency encoding (..., width) of numbers (...,): cosines, then sines (Wan's order)."""
    half = width // 2
    frequencies = torch.pow(10000.0, -torch.arange(half, device=values.device, dtype=torch.float32) / half)
    angles = values.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotary_angles(slots: int, rows: int, columns: int, head_width: int) -> Tensor:
    """Rotary angles (slots · rows · columns, head_width / 2) of places (i, j, k); the head's pairs are split among
    time, height and width as in Wan (22/21/21 of 64)."""
    pairs = head_width // 2
    spatial = head_width // 6
    split = (pairs - 2 * spatial, spatial, spatial)
    axes = torch.meshgrid(torch.arange(slots), torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = []
    for position, count in zip(axes, split, strict=True):
        frequencies = torch.pow(10000.0, -torch.arange(count, dtype=torch.float32) / count)
        angles.append(position.reshape(-1, 1).float() * frequencies)
    return torch.cat(angles, dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to x (B, N, heads, head_width); cos and sin (N, 1, head_width / 2)."""
    pairs = x.unflatten(-1, (-1, 2))
    even, odd = pairs[..., 0], pairs[..., 1]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


SHORT = 128
"""Keys up to which plain matrix products beat the fused attention kernel on a CPU (its backward pass ran 5 × slower
at 10 tokens)."""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of (B, heads, N, w) queries over (B, heads, M, w) keys and values; ``bias``,
    broadcast to (B, heads, N, M), is added to their products."""
    if k.shape[2] > SHORT or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    products = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    return (products if bias is None else products + bias).softmax(dim=-1) @ v


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys (over the full width, as Wan)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.o = nn.Linear(width, width)
        self.norm_q = nn.RMSNorm(width, eps=1e-6)
        self.norm_k = nn.RMSNorm(width, eps=1e-6)

    def forward(
        self, x: Tensor, context: Tensor, rotary: tuple[Tensor, Tensor] | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """x (B, N, d) attends to context (B, M, d); ``bias`` as in ``attend``."""
        q = self.norm_q(self.q(x)).unflatten(-1, (self.heads, -1))
        k = self.norm_k(self.k(context)).unflatten(-1, (self.heads, -1))
        v = self.v(context).unflatten(-1, (self.heads, -1))
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        q, k, v = (tensor.transpose(1, 2) for tensor in (q.to(v.dtype), k.to(v.dtype), v))
        return self.o(attend(q, k, v, bias).transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Self-attention within a view, attention across views, cross-attention to the text, feed-forward."""

    def __init__(self, config: NetworkConfig, index: int) -> None:
        super().__init__()
        d = config.width
        self.crosses_views = config.multi_view and (index + 1) % config.view_every == 0
        self.modulates_views = config.view_modulation == "block"
        self.norm1 = nn.LayerNorm(d, eps=1e-6, elementwise_affine=False)
        self.self_attn = Attention(d, config.heads)
        if self.crosses_views:
            self.view_attn = Attention(d, config.heads)
            nn.init.zeros_(self.view_attn.o.weight)
            nn.init.zeros_(self.view_attn.o.bias)
        self.norm3 = nn.LayerNorm(d, eps=1e-6)
        self.cross_attn = Attention(d, config.heads)
        self.norm2 = nn.LayerNorm(d, eps=1e-6, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(d, config.ffn), nn.GELU(approximate="tanh"), nn.Linear(config.ffn, d))
        self.modulation = nn.Parameter(torch.randn(1, 1, 6, d) / d**0.5)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        text: Tensor,
        rotary: tuple[Tensor, Tensor],
        rotary_view: tuple[Tensor, Tensor] | None,
        seat: Tensor | None = None,
    ) -> Tensor:
        """x (B, V, R, P, d): R rows (slots of both streams) of P tokens; time (B, 1, R, 1, 6, d), text (B, T, d),
        ``seat`` (V, 1, 1, d) added to what the attention across views sees."""
        batch, views, rows, places = x.shape[:4]
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + time).unbind(dim=4)
        y = (self.norm1(x) * (1 + scale1) + shift1).flatten(2, 3).flatten(0, 1)
        x = x + gate1 * self.self_attn(y, y, rotary).unflatten(0, (batch, views)).unflatten(2, (rows, places))
        if rotary_view is not None and self.crosses_views:
            y = self.norm1(x)
            if self.modulates_views:
                y = y * (1 + scale1) + shift1
            if seat is not None:
                y = y + seat
            # (B, V, R, P, d) → (B · R, V · P, d): one sequence a slot, over the tokens of all views
            y = y.transpose(1, 2).flatten(2, 3).flatten(0, 1)
            y = self.view_attn(y, y, rotary_view)
            x = x + y.unflatten(0, (batch, rows)).unflatten(2, (views, places)).transpose(1, 2)
        # every view asks the same text
        x = x + self.cross_attn(self.norm3(x).flatten(1, 3), text).unflatten(1, (views, rows, places))
        y = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.ffn(y)


SMALLEST_VARIANCE = 1e-4
"""Of a principal component or its noise, in latent units: what is finer does not show."""


class PrincipalComponents(nn.Module):
    """Patches of what differs from the rest pose, as coefficients of their K principal components; with ``by_channel``
    each channel's part of a patch by itself, all by the same components.

    Relative to it, so that zero is the rest pose; orthonormal, so that white noise stays white. Each coefficient is
    preconditioned by its own variance λ and that of its noise ν (Karras et al. 2022, table 1, for rectified flow
    z = (1 − σ) r + σ ε): the trunk sees unit variance, predicts unit variance, and its zero is the best linear guess
    from the coefficient alone. A first slot holds one frame, hence has variances of its own.

    Attributes:
        places: P, sets of coefficients in a slot: token grid's places, times channels if ``by_channel``.
        basis: (K, width of a part), orthonormal rows.
        variance: (2, K) λ of a first slot and of the others.
        noise: (2, K) ν, likewise; 1 in the others.
    """

    basis: Tensor
    variance: Tensor
    noise: Tensor

    def __init__(self, stream: Stream, *, by_channel: bool = False) -> None:
        super().__init__()
        self.stream = stream
        self.parts = stream.channels if by_channel else 1
        self.places = stream.grid**2 * self.parts
        basis = torch.empty(stream.components, stream.patch_width // self.parts)
        self.register_buffer("basis", nn.init.orthogonal_(basis))
        self.register_buffer("variance", torch.ones(2, stream.components))
        self.register_buffer("noise", torch.ones(2, stream.components))
        self.noise[0] = self.first_slot_noise()

    def fit(self, basis: Tensor, variance: Tensor) -> None:
        """Take components that were found, see ``principal_components``."""
        self.basis, self.variance = basis, variance
        self.noise = torch.stack([self.first_slot_noise(), torch.ones(len(basis))])

    def patches(self, difference: Tensor) -> Tensor:
        """What is reduced (B, V, S, P, width of a part), of latents (B, V, F, C, H, W) less those of the rest pose."""
        return to_patches(difference, self.stream).unflatten(-1, (self.parts, -1)).flatten(3, 4)

    def encode(self, difference: Tensor) -> Tensor:
        """Coefficients (B, V, S, P, K) of latents (B, V, F, C, H, W) less those of the rest pose."""
        return F.linear(self.patches(difference), self.basis)

    def decode(self, coefficients: Tensor, frames: int) -> Tensor:
        """The adjoint of ``encode``."""
        patches = F.linear(coefficients, self.basis.T).unflatten(3, (-1, self.parts)).flatten(4)
        return from_patches(patches, self.stream, frames)

    def first_slot(self) -> Tensor:
        """(K, K) what a first slot, which holds one frame, keeps of white noise on a whole patch."""
        frames = self._by_frame()
        return F.linear(frames.mean(dim=2, keepdim=True).expand_as(frames).flatten(1), self.basis)

    def first_slot_noise(self) -> Tensor:
        """(K,) variance of unit white noise on the frame of a first slot."""
        means = self._by_frame().mean(dim=2)
        return (self.stream.patch[0] * means.square().sum(dim=(1, 2))).clamp(min=SMALLEST_VARIANCE)

    def _by_frame(self) -> Tensor:
        """(K, channels, frames, numbers) of ``basis``."""
        t, h, w = self.stream.patch
        return self.basis.unflatten(1, (-1, t, h * w))

    def preconditioning(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, c_skip and c_out, each (B, 1, S, 1, K), for noise levels (B, S)."""
        level, slots = sigma.float()[:, None, :, None, None], sigma.shape[1]
        signal, noise = by_slot(self.variance, slots), by_slot(self.noise, slots)
        energy = (1 - level).square() * signal + level.square() * noise
        return energy.rsqrt(), (1 - level) * signal / energy, level * (signal * noise / energy).sqrt()

    def denoised(self, noisy: Tensor, made: Tensor, gate: Tensor, sigma: Tensor) -> Tensor:
        """Clean coefficients for ``noisy`` ones at noise levels (B, S): what the trunk ``made``, and by ``gate`` how
        far each noisy one is to be believed, since narrow trunks cannot pass all of them on; all (B, V, S, P, K)."""
        c_in, c_skip, c_out = self.preconditioning(sigma)
        return (c_skip + c_out * c_in * gate) * noisy + c_out * made


def by_slot(variances: Tensor, slots: int) -> Tensor:
    """Variances (2, K), of a first slot and of the others, as (S, 1, K)."""
    return torch.cat([variances[:1], variances[1:].expand(slots - 1, -1)]).float()[:, None]


NEIGHBOUR_BLOCKS = 2
"""Attention of markers to markers, so that each knows of which limb it is."""
ROLES = 32
"""Weighted sums of markers that a pose token's reading is made of."""
UNSEEN = 1e4
"""Taken from the products of attention to channels that are not in use."""


class NeighbourBlock(nn.Module):
    """Attention among the markers of a rig, feed-forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads=max(width // 32, 1))
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, C, w); ``bias`` (B, 1, 1, C) as in ``attend``."""
        y = self.norm1(x)
        x = x + self.attn(y, y, bias=bias)
        return x + self.ffn(self.norm2(x))


class Markers(nn.Module):
    """The trunk's pose tokens made of markers, and markers' motion of these, by weights that all markers share.

    Which limb a channel carries differs from rig to rig. A marker is known by where it rests and by the others around
    it instead, so that what is learnt of one body's limbs holds for another's. Markers are summed by learned roles
    into the trunk's tokens, and each takes its own motion from these.

    Symbols: C channels, w ``marker_width``, K components of a marker's motion in a slot.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        stream, w, d = config.pose, config.marker_width, config.width
        if stream.grid != 1 or not w:
            raise ValueError(
                f"pose has components, {stream.grid}² tokens a slot and a marker_width of {w}; accepted with "
                "components: one token a slot, and a marker_width"
            )
        self.channels = stream.channels
        self.rest = nn.Linear(stream.size**2, w)
        self.view = nn.Linear(6 * stream.size**2, w)
        self.place = nn.Linear(w, w)
        self.neighbours = nn.ModuleList(NeighbourBlock(w) for _ in range(NEIGHBOUR_BLOCKS))
        self.norm = nn.LayerNorm(w, eps=1e-6)
        self.roles = nn.Linear(w, ROLES)
        self.body = nn.Linear(ROLES * stream.size**2, d)
        self.reading = nn.Linear(ROLES * stream.components, d)
        self.asked = nn.Linear(d, w)
        self.turn = nn.Linear(w, w)
        self.shift = nn.Linear(w, w)
        self.seen = nn.Linear(stream.components, w)
        self.writing = nn.Linear(w, 2 * stream.components)
        for layer in (self.view, self.writing):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def known(self, template: Tensor, rays: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is known of each marker (B, C, w), and which channels are in use (B, C, 1), from the template's latents
        (B, V, C, h, w) and the views' rays (B, V, 6, h, w)."""
        used = (template.abs().sum(dim=(1, 3, 4)) > SMALLEST_VARIANCE).to(template.dtype)[..., None]
        x = self.rest(template.flatten(3))
        if rays is not None:
            x = x + self.view(rays.flatten(2))[:, :, None]
        x = self.place(F.gelu(x, approximate="tanh")).mean(dim=1)
        bias = (used - 1).transpose(1, 2)[:, None] * UNSEEN
        for block in self.neighbours:
            x = block(x, bias)
        return self.norm(x) * used, used

    def template(self, known: Tensor, used: Tensor, template: Tensor) -> Tensor:
        """The trunk's template tokens (B, V, 1, 1, d)."""
        return self.body(self._told(known, used, template.flatten(3)))[:, :, None, None]

    def read(self, known: Tensor, used: Tensor, moves: Tensor) -> Tensor:
        """The trunk's tokens (B, V, S, 1, d) of how markers move (B, V, S, C, K)."""
        views, slots = moves.shape[1:3]
        return self.reading(self._told(known, used, moves.flatten(1, 2))).unflatten(1, (views, slots))[:, :, :, None]

    def _told(self, known: Tensor, used: Tensor, facts: Tensor) -> Tensor:
        """Weighted sums (B, N, ROLES · n) over the markers of N sets of facts (B, N, C, n)."""
        shares = (self.roles(known) * used * self.channels**-0.5).transpose(1, 2)
        told = shares @ facts.transpose(1, 2).flatten(2)  # (B, ROLES, N · n)
        return told.unflatten(2, (facts.shape[1], facts.shape[3])).transpose(1, 2).flatten(2)

    def write(self, known: Tensor, moves: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the trunk's tokens x (B, V, S, 1, d) tell each marker, and how far what is seen of it is to be
        believed, both (B, V, S, C, K)."""
        y = self.asked(x) * (1 + self.turn(known))[:, None, None] + self.shift(known)[:, None, None]
        made, gate = self.writing(F.gelu(y + self.seen(moves), approximate="tanh")).unflatten(-1, (2, -1)).unbind(-2)
        return made, gate


class VideoPoseTransformer(nn.Module):
    """See the module's docstring. ``forward`` is one denoiser call."""

    middle: Tensor

    _no_split_modules = ("Block",)  # what accelerate wraps one by one under FSDP

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.rgb.grid != config.pose.grid or config.rgb.patch[0] != config.pose.patch[0]:
            raise ValueError(
                f"rgb has {config.rgb.grid}² tokens a slot of {config.rgb.patch[0]} frames, pose {config.pose.grid}² "
                f"of {config.pose.patch[0]}; accepted: equal token grids, since the two share positions"
            )
        self.config = config
        self.checkpointing = False
        """In training, compute blocks again for the backward pass instead of keeping what is inside them."""
        d = config.width
        self.shared_latents = config.rgb == config.pose
        middle = torch.from_numpy(spline_weights(np.array(config.pose.size / 2), config.pose.size)).float()
        self.register_buffer("middle", middle[:, None] * middle, persistent=False)
        """(h, w) a splat in the middle, where a clip's maps show a marker at rest."""
        self.components = nn.ModuleDict()
        streams = {"pose": config.pose}
        if config.joint and not self.shared_latents:
            streams["rgb"] = config.rgb
        for name, stream in streams.items():
            if stream.components:
                self.components[name] = PrincipalComponents(stream, by_channel=name == "pose")
            if name == "pose" and stream.components:
                self.markers = Markers(config)
                continue
            self.add_module(f"{name}_embedding", nn.Linear(stream.token_width, d))
            self.add_module(f"{name}_head", nn.Linear(d, stream.token_width))
            if stream.components:
                self.add_module(f"{name}_template", nn.Linear(stream.frame.patch_width, d))
                self.add_module(f"{name}_gate", nn.Linear(d, stream.token_width))
                for kind in ("head", "gate"):
                    nn.init.zeros_(self.get_submodule(f"{name}_{kind}").weight)
                    nn.init.zeros_(self.get_submodule(f"{name}_{kind}").bias)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_width, d), nn.GELU(approximate="tanh"), nn.Linear(d, d)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.frequencies, d), nn.SiLU(), nn.Linear(d, d))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(d, 6 * d))
        if config.joint and config.modality_embedding:
            self.modality_embedding = nn.Sequential(nn.Linear(config.frequencies, d), nn.SiLU(), nn.Linear(d, d))
            nn.init.zeros_(self.modality_embedding[2].weight)
            nn.init.zeros_(self.modality_embedding[2].bias)
        if config.pooled_text:
            self.pooled_text = nn.Linear(d, d)
        if config.multi_view and config.rays:
            # added to the patch embedding: the same as rays concatenated by channel under a widened, zero-initialised
            # one
            self.ray_embedding = nn.Linear(6 * config.pose.patch[1] * config.pose.patch[2], d)
            nn.init.zeros_(self.ray_embedding.weight)
            nn.init.zeros_(self.ray_embedding.bias)
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        if config.multi_view and config.view_embedding:
            self.view_embedding = nn.Parameter(torch.randn(config.view_embedding, 1, 1, d) / d**0.5)
        self.norm = nn.LayerNorm(d, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Parameter(torch.randn(1, 1, 2, d) / d**0.5)

    def forward(
        self,
        rgb: Tensor | None,
        pose: Tensor,
        template_rgb: Tensor | None,
        template_pose: Tensor,
        sigma: Tensor,
        text: Tensor,
        rays: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """One denoiser call.

        Args:
            rgb: (B, V, F, C, H, W) noisy RGB latents; None leaves the RGB tokens out.
            pose: (B, V, F, C', h, w) noisy pose latents.
            template_rgb: (B, V, C, H, W) clean latents of the template views (c_rgb).
            template_pose: (B, V, C', h, w) clean latents of the template pose maps (c_pose).
            sigma: (B, S) noise level of each time slot in [0, 1]: 0 clean (given history, pinned poses), 1 pure noise.
            text: (B, T, text_width); zeros for no text.
            rays: (B, V, 6, h, w) Plücker rays at the pose latents' resolution; None for single view.

        Returns:
            The prediction for rgb and pose, shaped as these.
        """
        signal = 1 - self.per_frame(sigma)[:, None, :, None, None, None].to(pose.dtype)
        frames = pose.shape[2]

        def coordinates(name: str, noisy: Tensor, template: Tensor) -> Tensor:
            if name in self.components:
                return self.components[name].encode(noisy - signal * self.at_rest(name, template)[:, :, None])
            return to_patches(noisy, getattr(self.config, name))

        def latents(name: str, made: Tensor, template: Tensor) -> Tensor:
            if name in self.components:
                return self.at_rest(name, template)[:, :, None] + self.components[name].decode(made, frames)
            return from_patches(made, getattr(self.config, name), frames)

        x_rgb = None if rgb is None or template_rgb is None else coordinates("rgb", rgb, template_rgb)
        x_pose = coordinates("pose", pose, template_pose)
        made_rgb, made_pose = self.denoise(x_rgb, x_pose, template_rgb, template_pose, sigma, text, rays)
        out_rgb = None if made_rgb is None or template_rgb is None else latents("rgb", made_rgb, template_rgb)
        return out_rgb, latents("pose", made_pose, template_pose)

    def at_rest(self, name: str, template: Tensor) -> Tensor:
        """Latents of a clip's frame that shows the rest pose, shaped as the template's."""
        if name == "rgb":
            return template
        return template.sum(dim=(-2, -1), keepdim=True) * self.middle.to(template.dtype)

    def denoise(
        self,
        rgb: Tensor | None,
        pose: Tensor,
        template_rgb: Tensor | None,
        template_pose: Tensor,
        sigma: Tensor,
        text: Tensor,
        rays: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:
        """``forward`` on what tokens are made of: noisy patches, or their coefficients, (B, V, S, places,
        token_width)."""
        config = self.config
        views, slots = pose.shape[1], sigma.shape[1]
        streams = [("pose", pose, template_pose)]
        if rgb is not None and template_rgb is not None:
            streams.insert(0, ("rgb", rgb, template_rgb))

        # tokens of a view: [c_rgb, x_rgb, c_pose, x_pose]
        tokens, markers = [], None
        for name, noisy, template in streams:
            if name == "pose" and config.pose.components:
                known, used, moves = markers = self._markers(noisy, template, sigma, rays)
                tokens += [self.markers.template(known, used, template), self.markers.read(known, used, moves)]
            else:
                tokens += [self._template_tokens(name, template), self._tokens(name, noisy, sigma)]
        x = torch.cat(tokens, dim=2)  # (B, V, rows, places, d)
        if config.multi_view and config.rays and rays is not None:
            ray = self.ray_embedding(
                to_patches(rays[:, :, None], Stream(6, config.pose.size, (1, *config.pose.patch[1:])))
            )
            x = x + ray

        context = self.text_embedding(text * config.text_scale)
        time = self._time(sigma, context, len(streams))  # (B, rows, d)
        modulation = self.time_projection(time).unflatten(-1, (6, -1))[:, None, :, None]
        rotary, rotary_view = self._positions(
            slots, len(streams), views if config.multi_view and views > 1 else 0, x.device
        )
        seat = self.view_embedding[:views] if config.multi_view and config.view_embedding else None
        for block in self.blocks:
            if self.checkpointing and self.training:
                x = checkpoint(block, x, modulation, context, rotary, rotary_view, seat, use_reentrant=False)
            else:
                x = block(x, modulation, context, rotary, rotary_view, seat)

        shift, scale = (self.modulation + time[:, :, None]).unbind(dim=2)
        x = self.norm(x) * (1 + scale[:, None, :, None]) + shift[:, None, :, None]
        x = x.unflatten(2, (len(streams), 1 + slots))
        x = x[:, :, :, 1:]  # condition tokens predict nothing
        made = [self._predicted(name, x[:, :, i], noisy, sigma, markers) for i, (name, noisy, _) in enumerate(streams)]
        return (made[0] if len(streams) == 2 else None), made[-1]

    def _layer(self, name: str, kind: str) -> nn.Module:
        """Embedding or head of a stream: one for both where they share a latent space."""
        return self.get_submodule(f"{'pose' if self.shared_latents else name}_{kind}")

    def _template_tokens(self, name: str, template: Tensor) -> Tensor:
        stream: Stream = getattr(self.config, name)
        if name in self.components:
            return self._layer(name, "template")(to_patches(template[:, :, None], stream.frame))
        return self._layer(name, "embedding")(to_patches(template[:, :, None], stream))

    def _tokens(self, name: str, noisy: Tensor, sigma: Tensor) -> Tensor:
        embedding = self._layer(name, "embedding")
        if name in self.components:
            c_in, _, _ = self.components[name].preconditioning(sigma)
            noisy = (c_in * noisy).to(embedding.weight.dtype)
        return embedding(noisy)

    def _predicted(
        self, name: str, x: Tensor, noisy: Tensor, sigma: Tensor, markers: tuple[Tensor, Tensor, Tensor] | None
    ) -> Tensor:
        """``markers``: what ``_markers`` gives, where pose tokens are made of them."""
        if name == "pose" and markers is not None:
            known, used, moves = markers
            made, gate = self.markers.write(known, moves, x)
            return used[:, None, None] * self.components[name].denoised(noisy, made, gate, sigma)
        made = self._layer(name, "head")(x)
        if name not in self.components:
            return made
        return self.components[name].denoised(noisy, made, self._layer(name, "gate")(x), sigma)

    def _markers(
        self, noisy: Tensor, template: Tensor, sigma: Tensor, rays: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What ``Markers.known`` gives, and the best linear guess of each marker's motion (B, V, S, C, K), of unit
        variance where it is sure and next to nothing in noise."""
        config, components = self.config, self.components["pose"]
        known, used = self.markers.known(template, rays if config.multi_view and config.rays else None)
        _, c_skip, _ = components.preconditioning(sigma)
        moves = c_skip * noisy / by_slot(components.variance, sigma.shape[1]).sqrt()
        return known, used, moves.to(known.dtype) * used[:, None, None]

    def per_frame(self, sigma: Tensor) -> Tensor:
        """Noise levels (B, F) of frames from those of slots (B, S)."""
        patch = self.config.pose.patch[0]
        return torch.cat([sigma[:, :1], sigma[:, 1:].repeat_interleave(patch, dim=1)], dim=1)

    def _time(self, sigma: Tensor, context: Tensor, streams: int) -> Tensor:
        """Timestep embedding (B, rows, d) of every row: condition rows are clean; the modality and pooled text
        added."""
        config = self.config
        first = sigma.amax(dim=1, keepdim=True)
        levels = torch.cat([first if config.condition_time == "shared" else torch.zeros_like(first), sigma], dim=1)
        dtype = self.time_embedding[0].weight.dtype
        time = self.time_embedding(sinusoid(levels * config.time_scale, config.frequencies).to(dtype))
        if config.pooled_text:
            time = time + self.pooled_text(context[:, :1])
        if streams == 1:
            return time
        if not config.modality_embedding:
            return torch.cat([time, time], dim=1)
        ids = torch.tensor([0.0, 1.0], device=sigma.device)
        modality = self.modality_embedding(sinusoid(ids, config.frequencies).to(dtype))
        return torch.cat([time + modality[0], time + modality[1]], dim=1)

    def _positions(
        self, slots: int, streams: int, views: int, device: torch.device
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None]:
        """Rotary tables for attention within a view (both modalities share theirs) and across views (rows and
        columns)."""
        config = self.config
        grid, head_width = config.pose.grid, config.width // config.heads
        if config.shared_positions:
            angles = rotary_angles(1 + slots, grid, grid, head_width).repeat(streams, 1)
        else:
            angles = rotary_angles((1 + slots) * streams, grid, grid, head_width)
        within = (angles.cos()[:, None].to(device), angles.sin()[:, None].to(device))
        if not views:
            return within, None
        across = rotary_angles(1, grid, grid, head_width).repeat(views, 1)
        if config.view_positions == "none":
            across = torch.zeros_like(across)
        return within, (across.cos()[:, None].to(device), across.sin()[:, None].to(device))


def to_patches(latents: Tensor, stream: Stream) -> Tensor:
    """Latents (B, V, F, C, H, W) as patches (B, V, slots, places, patch_width).

    The first slot holds the first frame alone, repeated and scaled so that its length is kept.
    """
    t, h, w = stream.patch
    batch, views, frames, channels, height, width = latents.shape
    if t > 1:
        latents = torch.cat([(latents[:, :, :1] * t**-0.5).expand(-1, -1, t, -1, -1, -1), latents[:, :, 1:]], dim=2)
    x = latents.reshape(batch, views, (frames + t - 1) // t, t, channels, height // h, h, width // w, w)
    return x.permute(0, 1, 2, 5, 7, 4, 3, 6, 8).reshape(
        batch, views, (frames + t - 1) // t, (height // h) * (width // w), stream.patch_width
    )


def from_patches(patches: Tensor, stream: Stream, frames: int) -> Tensor:
    """The inverse of ``to_patches``, and its adjoint."""
    t, h, w = stream.patch
    batch, views, slots = patches.shape[:3]
    x = patches.reshape(batch, views, slots, stream.grid, stream.grid, stream.channels, t, h, w)
    x = x.permute(0, 1, 2, 6, 5, 3, 7, 4, 8).reshape(batch, views, slots * t, stream.channels, stream.size, stream.size)
    if t > 1:
        x = torch.cat([x[:, :, :t].sum(dim=2, keepdim=True) * t**-0.5, x[:, :, t:]], dim=2)
    return x[:, :, :frames]
