"""Muon against singular value decompositions and torch's own, and in a training run."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is missing: pip install 'animax[train]'")

from animax_engine.muon import Muon, orthogonalised  # noqa: E402


@pytest.mark.parametrize("shape", [(12, 12), (8, 24), (24, 8)])
def test_orthogonalised_keeps_directions_and_levels_singular_values(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    made = orthogonalised(matrices)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    along = u.mT @ made @ vh.mT
    levels = along.diagonal(dim1=1, dim2=2)
    assert torch.allclose(along, torch.diag_embed(levels), atol=1e-3), "left and right singular vectors stay"
    seen = levels[s / s.norm(dim=1, keepdim=True) > 0.01]
    assert seen.min() > 0.4
    assert seen.max() < 1.6


def test_step_is_nearly_that_of_torch():
    start = torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    made = Muon([ours], lr=0.01, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        ours.grad = torch.randn(16, 32, generator=generator)
        theirs.grad = ours.grad.clone()
        made.step()
        reference.step()
    moved, expected = ours.detach() - start, theirs.detach() - start
    assert torch.nn.functional.cosine_similarity(moved.flatten(), expected.flatten(), dim=0) > 0.96
    assert float(moved.norm() / expected.norm()) == pytest.approx(1, abs=0.3)


def test_resumes_where_it_was():
    def run(steps: int, state: dict | None = None, start: torch.Tensor | None = None):
        weight = torch.nn.Parameter(torch.eye(6) if start is None else start.clone())
        optimiser = Muon([weight], lr=0.1)
        if state:
            optimiser.load_state_dict(state)
        for _ in range(steps):
            weight.grad = weight.detach() @ torch.arange(36.0).reshape(6, 6)
            optimiser.step()
        return weight.detach(), optimiser.state_dict()

    whole, _ = run(4)
    half, state = run(2)
    torch.testing.assert_close(run(2, state, half)[0], whole)


def test_parameters_without_gradient_stay():
    weights = [torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2)]
    weights[0].grad = torch.eye(3)
    Muon(weights, lr=0.1, weight_decay=0.5).step()
    assert not torch.equal(weights[0], torch.ones(3, 3))
    assert torch.equal(weights[1], torch.ones(3, 3))
