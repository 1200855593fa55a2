"""Principal components against NumPy's eigenvectors."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from animax_engine.dataset.components import principal_components  # noqa: E402
from animax_engine.network import Stream, to_patches  # noqa: E402

STREAM = Stream(3, 4, (2, 4, 4), components=6)


def test_basis_spans_what_varies_most():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(10, 3 * 2 * 16, generator=generator) * torch.logspace(0, -1.5, 10)[:, None]
    firsts, drawn = [], []

    def draw():
        patches = torch.randn(64, 2, 10, generator=generator) @ mixing
        frames = patches.reshape(64, 2, 3, 2, 4, 4).transpose(2, 3).flatten(1, 2)
        latents = torch.cat([frames[:, :1], frames], dim=1)[:, None]  # a first slot, then two of two frames
        patches = to_patches(latents, STREAM).numpy()
        firsts.append(patches[:, :, 0].reshape(-1, STREAM.patch_width))
        drawn.append(patches[:, :, 1:].reshape(-1, STREAM.patch_width))
        return latents

    basis, variance = principal_components(draw, STREAM, 5)
    torch.testing.assert_close(basis @ basis.T, torch.eye(6), atol=1e-5, rtol=0)
    values, vectors = np.linalg.eigh(np.concatenate(drawn).T @ np.concatenate(drawn) / (5 * 64 * 2))
    np.testing.assert_allclose(variance[1], values[::-1][:6], rtol=1e-3)
    np.testing.assert_allclose(variance[0], ((np.concatenate(firsts) @ basis.numpy().T) ** 2).mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(np.abs(np.diag(basis.numpy() @ vectors[:, ::-1][:, :6])), 1.0, atol=1e-3)
    assert variance[1].diff().max() <= 0


def test_components_that_never_vary_keep_a_positive_variance():
    _, variance = principal_components(lambda: torch.zeros(2, 1, 3, 3, 4, 4), replace(STREAM, components=2), 1)
    assert variance.min() > 0
