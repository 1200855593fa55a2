"""Muon: momentum whose update of every matrix is made orthogonal.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. ``torch.optim.Muon`` does the same one matrix at a time,
in bf16, which CPUs without such units compute fifty times slower.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)
"""Coefficients (a, b, c) of x ← a x + b x³ + c x⁵, the fastest way of all singular values from [0.001, 1] towards 1
(Amsel et al. 2025, arXiv 2505.16932, algorithm 1, its first steps)."""
_SAFETY = 1.02
"""By which the norm that starts the iteration is taken too large, so that rounding leaves no singular value above 1
(ibid.)."""
_ADAM_LIKE = 0.2
"""Root mean square of an AdamW update: with it the two share a learning rate (Liu et al. 2025, arXiv 2502.16982,
eq. 4)."""


def orthogonalised(matrices: Tensor) -> Tensor:
    """U Vᵀ, nearly, of each of the matrices U S Vᵀ (N, m, n): singular values come to lie between 0.4 and 1.6, but for
    those below a hundredth of the norm."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] * _SAFETY).clamp(min=1e-12)
    for a, b, c in POLAR_EXPRESS:
        square = x @ x.mT
        x = a * x + torch.baddbmm(square, square, square, beta=b, alpha=c) @ x
    return x.mT if tall else x


class Muon(Optimizer):
    """For the matrices of a trunk; embeddings, heads, biases and norms are AdamW's.

    Args:
        parameters: of two axes each.
        lr: learning rate, as AdamW's.
        momentum: of the gradients' mean (Nesterov).
        weight_decay: as AdamW's.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; matrices of one shape are computed together."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                gradients = [p.grad for p in parameters if p.grad is not None]
                means = [self.state[p].setdefault("mean", torch.zeros_like(p)) for p in parameters]
                torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, means, group["momentum"])
                updates = orthogonalised(torch.stack(ahead)) * (_ADAM_LIKE * max(shape) ** 0.5)
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(updates.unbind()), alpha=-group["lr"])
