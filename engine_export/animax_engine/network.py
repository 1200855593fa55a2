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

from animax.diffusion.clock import FEATURES
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
        marker_depth: blocks in which markers' motions see each other after the trunk.
        clock: takes the time, see ``animax.diffusion.clock``.
        plan: takes a planned motion, see ``animax.diffusion.repertoire``, and says what differs from it.
        patterns: of motion that the network proposes for a body and prompt, see ``PrincipalComponents.settled``.
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
    marker_depth: int = 2
    patterns: int = 8
    clock: bool = False
    plan: bool = False

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
    clock=True,
    plan=True,
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
        return to_patches(difference, self.stream).unflatten(-1, (-1, self.basis.shape[1])).flatten(3, 4)

    def encode(self, difference: Tensor) -> Tensor:
        """Coefficients (B, V, S, P, K) of latents (B, V, F, C, H, W) less those of the rest pose."""
        return F.linear(self.patches(difference), self.basis)

    def decode(self, coefficients: Tensor, frames: int) -> Tensor:
        """The adjoint of ``encode``."""
        patches = F.linear(coefficients, self.basis.T).unflatten(3, (self.stream.grid**2, -1)).flatten(4)
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

    def settled(self, noisy: Tensor, guess: Guess, sigma: Tensor, excess: Tensor) -> Tensor:
        """Clean coefficients for ``noisy`` ones at noise levels (B, S), (B, V, S, P, K): the posterior mean where the
        clean ones are Gaussian, r = mean + patterns · c + rest, c ~ N(0, 1) (factor analysis). A gait's clips lie in
        two dimensions of thousands, which are told from noise long before any one marker's motion is.

        Args:
            noisy: z = (1 - σ) r + σ ε.
            guess: the Gaussian.
            sigma: (B, S).
            excess: how much larger than one is the variance of noise along patterns, since views share theirs.
        """
        level, slots = sigma.float()[:, None, :, None, None], sigma.shape[1]
        signal, variance = 1 - level, by_slot(self.variance, slots)
        deviation = variance.sqrt()
        mean, patterns = deviation * guess.mean, deviation[..., None] * guess.patterns
        total = signal.square() * variance * guess.rest + level.square() * by_slot(self.noise, slots)
        left = noisy - signal * mean
        shown = (signal[..., None] * patterns).flatten(2, 4)  # (B, V, D, R)
        weighted = shown / (total * (1 + excess))[..., None].flatten(2, 4)
        told = torch.cat([weighted.mT @ shown, weighted.mT @ left.flatten(2)[..., None]], dim=-1)
        if guess.together:
            told = told.sum(dim=1, keepdim=True)
        shares = solved(unit_matrix(told) + told[..., :-1], told[..., -1:])
        moved = (patterns.flatten(2, 4) @ shares).squeeze(-1).unflatten(2, patterns.shape[2:5])
        return mean + moved + signal * variance * guess.rest / total * (left - signal * moved)


@dataclass(frozen=True, eq=False)
class Guess:
    """What clean coefficients are likely, in standard deviations of ``PrincipalComponents``.

    Attributes:
        mean: (B, V, S, P, K).
        rest: (B, V, S, P, K) variance beside the patterns.
        patterns: (B, V, S, P, K, R) factors.
        together: all views show one and the same share of each pattern.
    """

    mean: Tensor
    rest: Tensor
    patterns: Tensor
    together: bool


def unit_matrix(like: Tensor) -> Tensor:
    """(R, R) of the type of ``like`` (..., R, n), as a constant: ``torch.eye`` is exported by way of 8-bit integers,
    which TensorRT does not take."""
    return torch.from_numpy(np.eye(like.shape[-2], dtype=np.float32)).to(like)


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """x (..., R, n) of the symmetric positive ``matrix`` (..., R, R) · x = ``right``, by Gauss-Jordan elimination in
    operators that every runtime has."""
    size, unit = matrix.shape[-1], unit_matrix(matrix)[..., None]
    both = torch.cat([matrix, right], dim=-1)
    for i in range(size):
        row = both[..., i : i + 1, :] / both[..., i : i + 1, i : i + 1]
        both = both - (both[..., i : i + 1] - unit[i]) * row
    return both[..., size:]


def by_slot(variances: Tensor, slots: int) -> Tensor:
    """Variances (2, K), of a first slot and of the others, as (S, 1, K)."""
    return torch.cat([variances[:1], variances[1:].expand(slots - 1, -1)]).float()[:, None]


NEIGHBOUR_BLOCKS = 2
"""Attention of markers to markers, so that each knows of which limb it is."""
ROLES = 32
"""Weighted sums of markers that a pose token's reading is made of."""
SMALL_PATTERN = 0.1
"""Standard deviation of patterns as they start, in standard deviations of their component: at nothing, nothing would
be learnt."""
WIDEST_REST = 4.0
"""Bound of the logarithm of what is likely beside the patterns, in variances of their component."""
EXCESS = 0.5
"""Variance of noise along patterns beyond one, for each view beside the first, as it starts to be learnt."""
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


class MotionBlock(nn.Module):
    """Attention of each marker's motion to its own in other slots, then a ``NeighbourBlock`` among those of a slot."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads=max(width // 32, 1))
        self.neighbours = NeighbourBlock(width)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """x (B, S, C, w); ``bias`` (B · S, 1, 1, C) as in ``attend``."""
        batch, slots = x.shape[:2]
        y = self.norm(x).transpose(1, 2).flatten(0, 1)
        y = self.attn(y, y, rotary).unflatten(0, (batch, -1))
        return self.neighbours((x + y.transpose(1, 2)).flatten(0, 1), bias).unflatten(0, (batch, slots))


@dataclass(frozen=True, eq=False)
class Known:
    """What ``Markers`` knows of a rig before it sees motion.

    Attributes:
        markers: (B, C, w) of each marker.
        used: (B, C, 1) 1 for channels in use.
        views: (B, V, w) of each view.
    """

    markers: Tensor
    used: Tensor
    views: Tensor


class Markers(nn.Module):
    """The trunk's pose tokens made of markers, and markers' motion of these, by weights that all markers share.

    Which limb a channel carries differs from rig to rig. A marker is known by where it rests and by the others around
    it instead, so that what is learnt of one body's limbs holds for another's. Markers are summed by learned roles
    into the trunk's tokens; each takes from these what is asked for and, with what all views see of it, settles its
    motion with the other markers and its own in other slots.

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
        self.together = config.multi_view
        self.rest = nn.Linear(stream.size**2, w)
        self.view = nn.Linear(6 * stream.size**2, w)
        self.place = nn.Linear(w, w)
        self.neighbours = nn.ModuleList(NeighbourBlock(w) for _ in range(NEIGHBOUR_BLOCKS))
        self.norm = nn.LayerNorm(w, eps=1e-6)
        self.roles = nn.Linear(w, ROLES)
        self.body = nn.Linear(ROLES * stream.size**2, d)
        self.reading = nn.Linear(ROLES * stream.components, d)
        self.looking = nn.Linear(6 * stream.size**2, 2 * w)
        self.asked = nn.Linear(d, w)
        self.heard = nn.Linear(d, w)
        self.turn = nn.Linear(w, w)
        self.shift = nn.Linear(w, w)
        self.seen = nn.Linear(stream.components, w)
        self.slot = nn.Linear(w, w)
        self.time = nn.Linear(FEATURES, w)
        self.motion = nn.ModuleList(MotionBlock(w) for _ in range(config.marker_depth))
        self.norm_motion = nn.LayerNorm(w, eps=1e-6)
        self.guessing = nn.Linear(w, 2 * stream.components)
        self.patterns = nn.Linear(w, stream.components * config.patterns)
        self.excess = nn.Parameter(torch.tensor(EXCESS))
        if config.plan:
            self.planned = nn.Linear(stream.components, w, bias=False)
            nn.init.zeros_(self.planned.weight)
        for layer in (self.view, self.looking, self.time, self.guessing):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.patterns.weight, std=SMALL_PATTERN * w**-0.5)
        nn.init.normal_(self.patterns.bias, std=SMALL_PATTERN)

    def known(self, template: Tensor, rays: Tensor | None) -> Known:
        """What is known from the template's latents (B, V, C, h, w) and the views' rays (B, V, 6, h, w)."""
        used = (template.abs().sum(dim=(1, 3, 4)) > SMALLEST_VARIANCE).to(template.dtype)[..., None]
        x = self.rest(template.flatten(3))
        if rays is not None:
            x = x + self.view(rays.flatten(2))[:, :, None]
        x = self.place(F.gelu(x, approximate="tanh")).mean(dim=1)
        bias = unused(used)
        for block in self.neighbours:
            x = block(x, bias)
        views = template.new_zeros((*template.shape[:2], 2 * x.shape[-1]))
        return Known(self.norm(x) * used, used, views if rays is None else self.looking(rays.flatten(2)))

    def template(self, known: Known, template: Tensor) -> Tensor:
        """The trunk's template tokens (B, V, 1, 1, d)."""
        return self.body(self._told(known, template.flatten(3)))[:, :, None, None]

    def read(self, known: Known, moves: Tensor) -> Tensor:
        """The trunk's tokens (B, V, S, 1, d) of how markers move (B, V, S, C, K)."""
        views, slots = moves.shape[1:3]
        return self.reading(self._told(known, moves.flatten(1, 2))).unflatten(1, (views, slots))[:, :, :, None]

    def _told(self, known: Known, facts: Tensor) -> Tensor:
        """Weighted sums (B, N, ROLES · n) over the markers of N sets of facts (B, N, C, n)."""
        shares = (self.roles(known.markers) * known.used * self.channels**-0.5).transpose(1, 2)
        told = shares @ facts.transpose(1, 2).flatten(2)  # (B, ROLES, N · n)
        return told.unflatten(2, (facts.shape[1], facts.shape[3])).transpose(1, 2).flatten(2)

    def guess(
        self, known: Known, moves: Tensor, planned: Tensor | None, x: Tensor, prompt: Tensor, clock: Tensor
    ) -> Guess:
        """What motion is likely by the trunk's tokens x (B, V, S, 1, d), the markers' moves (B, V, S, C, K) and those
        that are ``planned``, what is known of them, the pooled ``prompt`` (B, 1, d) and the ``clock`` (B, S, n)."""
        markers, used, views = known.markers, known.used, known.views
        batch, count, slots = moves.shape[:3]
        if not self.together:  # every view by itself
            markers, used = (t.repeat_interleave(count, dim=0) for t in (markers, used))
            views, moves, x = (t.flatten(0, 1)[:, None] for t in (views, moves, x))
            planned = None if planned is None else planned.flatten(0, 1)[:, None]
            prompt, clock = (t.repeat_interleave(count, dim=0) for t in (prompt, clock))
        seeing, showing = (1 + views).unflatten(-1, (2, -1)).unbind(-2)  # (B, V, w) each

        def together(facts: Tensor, layer: nn.Linear) -> Tensor:
            """What views see, summed by weights of each view's own: (B, S, C, V · K) with (B, 1, V · K, w)."""
            weights = (layer.weight.T * seeing[:, :, None]).flatten(1, 2)[:, None] / facts.shape[1]
            return facts.permute(0, 2, 3, 1, 4).flatten(3) @ weights

        y = together(moves, self.seen) + self.seen.bias
        if planned is not None:
            y = y + together(planned, self.planned)
        asked = self.asked(x).mean(dim=1) + (self.heard(prompt) + self.time(clock))[:, :, None]
        y = y + asked * (1 + self.turn(markers))[:, None] + self.shift(markers)[:, None]
        y = y + self.slot(sinusoid(torch.arange(slots, device=y.device), y.shape[-1]).to(y.dtype))[:, None]
        angles = rotary_angles(slots, 1, 1, y.shape[-1] // self.motion[0].attn.heads)
        rotary = (angles.cos()[:, None].to(y.device), angles.sin()[:, None].to(y.device))
        bias = unused(used).repeat_interleave(slots, dim=0)
        for block in self.motion:
            y = block(y, rotary, bias)
        y = self.norm_motion(y)
        # and shown to each likewise: (B, S, C, w) with (B, 1, w, V · n)
        weight, plus = (
            torch.cat([a, b])
            for a, b in ((self.guessing.weight, self.patterns.weight), (self.guessing.bias, self.patterns.bias))
        )
        weights = (weight * showing[:, :, None]).flatten(1, 2)[:, None].mT
        y = ((y @ weights).unflatten(3, (moves.shape[1], -1)) + plus).permute(0, 3, 1, 2, 4)
        if not self.together:
            y = y[:, 0].unflatten(0, (batch, count))
        y = y * known.used[:, None, None]
        size = self.seen.in_features
        rest = (WIDEST_REST * torch.tanh(y[..., size : 2 * size].float() / WIDEST_REST)).exp()
        return Guess(y[..., :size], rest, y[..., 2 * size :].unflatten(-1, (size, -1)), self.together)


def unused(used: Tensor) -> Tensor:
    """The bias (B, 1, 1, C) of attention to channels of which those ``used`` (B, C, 1) are 1."""
    return (used - 1).transpose(1, 2)[:, None] * UNSEEN


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
        if config.plan and not (config.clock and config.pose.components):
            raise ValueError("a plan without clock or components; accepted: both beside it")
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
        if config.clock:
            self.clock_embedding = nn.Sequential(nn.Linear(FEATURES, d), nn.SiLU(), nn.Linear(d, d))
            nn.init.zeros_(self.clock_embedding[2].weight)
            nn.init.zeros_(self.clock_embedding[2].bias)
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
        clock: Tensor | None = None,
        plan: Tensor | None = None,
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
            clock: (B, S, ``FEATURES``) where in its cycle the motion is, see ``animax.diffusion.clock``; None or zeros
                leave it open.
            plan: (B, V, F, C', h, w) pose latents of a planned motion; None for the rest pose.

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
        planned = None
        if plan is not None and self.config.plan:
            planned = self.components["pose"].encode(plan - self.at_rest("pose", template_pose)[:, :, None])
        made_rgb, made_pose = self.denoise(
            x_rgb, x_pose, template_rgb, template_pose, sigma, text, rays, clock, planned
        )
        out_rgb = None if made_rgb is None or template_rgb is None else latents("rgb", made_rgb, template_rgb)
        if planned is None or plan is None:
            return out_rgb, latents("pose", made_pose, template_pose)
        return out_rgb, plan + self.components["pose"].decode(made_pose - planned, frames)

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
        clock: Tensor | None = None,
        planned: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """``forward`` on what tokens are made of: noisy patches, or their coefficients, (B, V, S, places,
        token_width); ``planned`` likewise."""
        config = self.config
        views, slots = pose.shape[1], sigma.shape[1]
        if planned is not None:  # zero is the plan from here on
            pose = pose - (1 - sigma[:, None, :, None, None]).to(pose.dtype) * planned
        streams = [("pose", pose, template_pose)]
        if rgb is not None and template_rgb is not None:
            streams.insert(0, ("rgb", rgb, template_rgb))

        # tokens of a view: [c_rgb, x_rgb, c_pose, x_pose]
        tokens, markers = [], None
        for name, noisy, template in streams:
            if name == "pose" and config.pose.components:
                known, moves = markers = self._markers(noisy, template, sigma, rays)
                tokens += [self.markers.template(known, template), self.markers.read(known, moves)]
            else:
                tokens += [self._template_tokens(name, template), self._tokens(name, noisy, sigma)]
        x = torch.cat(tokens, dim=2)  # (B, V, rows, places, d)
        if config.multi_view and config.rays and rays is not None:
            ray = self.ray_embedding(
                to_patches(rays[:, :, None], Stream(6, config.pose.size, (1, *config.pose.patch[1:])))
            )
            x = x + ray

        context = self.text_embedding(text * config.text_scale)
        clock = sigma.new_zeros((*sigma.shape, FEATURES), dtype=x.dtype) if clock is None else clock
        time = self._time(sigma, context, clock, len(streams))  # (B, rows, d)
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
        made = [
            self._predicted(name, x[:, :, i], noisy, sigma, context[:, :1], clock, planned, markers)
            for i, (name, noisy, _) in enumerate(streams)
        ]
        if planned is not None:
            made[-1] = made[-1] + planned
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
        self,
        name: str,
        x: Tensor,
        noisy: Tensor,
        sigma: Tensor,
        prompt: Tensor,
        clock: Tensor,
        planned: Tensor | None,
        markers: tuple[Known, Tensor] | None,
    ) -> Tensor:
        """``markers``: what ``_markers`` gives, where pose tokens are made of them."""
        if name == "pose" and markers is not None:
            known, moves = markers
            excess = self.markers.excess * (x.shape[1] - 1)
            if planned is not None:
                planned = planned / by_slot(self.components[name].variance, sigma.shape[1]).sqrt().to(planned.dtype)
            guess = self.markers.guess(known, moves, planned, x, prompt, clock)
            return known.used[:, None, None] * self.components[name].settled(noisy, guess, sigma, excess)
        made = self._layer(name, "head")(x)
        if name not in self.components:
            return made
        return self.components[name].denoised(noisy, made, self._layer(name, "gate")(x), sigma)

    def _markers(self, noisy: Tensor, template: Tensor, sigma: Tensor, rays: Tensor | None) -> tuple[Known, Tensor]:
        """What ``Markers.known`` gives, and the best linear guess of each marker's motion (B, V, S, C, K), of unit
        variance where it is sure and next to nothing in noise."""
        config, components = self.config, self.components["pose"]
        known = self.markers.known(template, rays if config.multi_view and config.rays else None)
        _, c_skip, _ = components.preconditioning(sigma)
        moves = c_skip * noisy / by_slot(components.variance, sigma.shape[1]).sqrt()
        return known, moves.to(template.dtype) * known.used[:, None, None]

    def per_frame(self, sigma: Tensor) -> Tensor:
        """Noise levels (B, F) of frames from those of slots (B, S)."""
        patch = self.config.pose.patch[0]
        return torch.cat([sigma[:, :1], sigma[:, 1:].repeat_interleave(patch, dim=1)], dim=1)

    def _time(self, sigma: Tensor, context: Tensor, clock: Tensor, streams: int) -> Tensor:
        """Timestep embedding (B, rows, d) of every row: condition rows are clean; the clock, the modality and pooled
        text added."""
        config = self.config
        first = sigma.amax(dim=1, keepdim=True)
        levels = torch.cat([first if config.condition_time == "shared" else torch.zeros_like(first), sigma], dim=1)
        dtype = self.time_embedding[0].weight.dtype
        time = self.time_embedding(sinusoid(levels * config.time_scale, config.frequencies).to(dtype))
        if config.clock:
            time = time + F.pad(self.clock_embedding(clock.to(dtype)), (0, 0, 1, 0))
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
        batch, views, (frames + t - 1) // t, (height // h) * (width // w), channels * t * h * w
    )


def from_patches(patches: Tensor, stream: Stream, frames: int) -> Tensor:
    """The inverse of ``to_patches``, and its adjoint."""
    t, h, w = stream.patch
    batch, views, slots = patches.shape[:3]
    x = patches.reshape(batch, views, slots, stream.grid, stream.grid, -1, t, h, w)
    x = x.permute(0, 1, 2, 6, 5, 3, 7, 4, 8).reshape(batch, views, slots * t, -1, stream.size, stream.size)
    if t > 1:
        x = torch.cat([x[:, :, :t].sum(dim=2, keepdim=True) * t**-0.5, x[:, :, t:]], dim=2)
    return x[:, :, :frames]
