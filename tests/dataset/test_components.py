"""Principal components against NumPy's eigenvectors."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from animax_engine.dataset.components import principal_components, variances  # noqa: E402
from animax_engine.network import PrincipalComponents, Stream, to_patches  # noqa: E402

STREAM = Stream(3, 4, (2, 4, 4), components=6)


def found(draw, components, draws):
    """Basis and variances of what is drawn."""
    basis = principal_components(draw, components, draws)
    return basis, variances(draw, components, basis, draws)


def whole(components):
    """Of whole patches."""
    return PrincipalComponents(replace(STREAM, components=components))


def everything(samples):
    return torch.ones(samples, 1, dtype=torch.bool)


def test_basis_spans_what_varies_most():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(10, 3 * 2 * 16, generator=generator) * torch.logspace(0, -1.5, 10)[:, None]
    firsts, drawn, all_latents = [], [], []
    for _ in range(5):
        patches = torch.randn(64, 2, 10, generator=generator) @ mixing
        frames = patches.reshape(64, 2, 3, 2, 4, 4).transpose(2, 3).flatten(1, 2)
        latents = torch.cat([frames[:, :1], frames], dim=1)[:, None]  # a first slot, then two of two frames
        patches = to_patches(latents, STREAM).numpy()
        firsts.append(patches[:, :, 0].reshape(-1, STREAM.patch_width))
        drawn.append(patches[:, :, 1:].reshape(-1, STREAM.patch_width))
        all_latents.append(latents)
    again = cycle(all_latents)

    basis, variance = found(lambda: (next(again), torch.ones(64), everything(64)), whole(6), 5)
    torch.testing.assert_close(basis @ basis.T, torch.eye(6), atol=1e-5, rtol=0)
    values, vectors = np.linalg.eigh(np.concatenate(drawn).T @ np.concatenate(drawn) / (5 * 64 * 2))
    np.testing.assert_allclose(variance[1], values[::-1][:6], rtol=1e-3)
    np.testing.assert_allclose(variance[0], ((np.concatenate(firsts) @ basis.numpy().T) ** 2).mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(np.abs(np.diag(basis.numpy() @ vectors[:, ::-1][:, :6])), 1.0, atol=1e-3)
    assert variance[1].diff().max() <= 0


def test_components_that_never_vary_keep_a_positive_variance():
    _, variance = found(lambda: (torch.zeros(2, 1, 3, 3, 4, 4), torch.ones(2), everything(2)), whole(2), 1)
    assert variance.min() > 0


def drawn_along(directions, sizes, weights, generator):
    """Samples that each vary along one of orthonormal ``directions`` (K, patch_width), of other sizes and weights."""

    def draw():
        which = torch.arange(60) % len(directions)
        patches = torch.randn(60, 1, generator=generator) * sizes[which, None] * directions[which]
        frames = patches.reshape(60, 1, 3, 2, 4, 4).transpose(2, 3).flatten(1, 2)
        return torch.cat([0 * frames[:, :1], frames], dim=1)[:, None], weights[which], everything(60)

    return draw


def test_samples_that_count_more_decide_on_the_basis():
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(96, 3, generator=generator))[0].T.contiguous()
    draw = drawn_along(directions, torch.tensor([10.0, 3.0, 1.0]), torch.tensor([1.0, 1.0, 1000.0]), generator)
    basis, variance = found(draw, whole(2), 5)
    shares = (basis @ directions.T).square()
    assert shares[0, 2] > 0.99, "small, but it counts"
    assert shares[1, 0] > 0.99
    assert variance[1, 0] > 3 * variance[1, 1], "variances are what the loss sees of them"


def test_markers_in_use_are_samples_each():
    """Of one basis for all channels, whatever the others hold."""
    generator = torch.Generator().manual_seed(0)
    components = PrincipalComponents(replace(STREAM, components=2), by_channel=True)
    directions = torch.linalg.qr(torch.randn(32, 4, generator=generator))[0].T.contiguous()
    used = torch.rand(60, 3, generator=generator) < 0.5

    def draw():
        sizes = torch.where(used[..., None], torch.tensor([3.0, 1.0, 0, 0]), torch.tensor([0, 0, 90.0, 90.0]))
        parts = (torch.randn(60, 2, 3, 4, generator=generator) * sizes[:, None]) @ directions  # of two slots
        frames = parts.reshape(60, 2, 3, 2, 4, 4).transpose(2, 3).flatten(1, 2)
        return torch.cat([0 * frames[:, :1], frames], dim=1)[:, None], torch.ones(60), used

    basis, variance = found(draw, components, 5)
    torch.testing.assert_close((basis @ directions.T).abs()[:, :2], torch.eye(2), atol=0.05, rtol=0)
    np.testing.assert_allclose(variance[1], [9.0, 1.0], rtol=0.2)
