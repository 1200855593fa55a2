"""ONNX Runtime: the provider choice and the denoiser session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from animax.errors import EngineError, OptionError

Latents = NDArray[np.float32]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Names that a user gives, and ONNX Runtime's."""
INPUTS = ("rgb", "pose", "template_rgb", "template_pose", "sigma", "text", "rays")
OUTPUTS = ("clean_rgb", "clean_pose")


def choose_provider(name: str) -> str:
    """The provider to run on: ``auto`` takes TensorRT, CUDA or CPU, whichever is there first.

    Raises:
        OptionError: ``name`` is none of auto, cpu, cuda, tensorrt.
        EngineError: the provider is not in the installed ONNX Runtime.
    """
    available = onnxruntime.get_available_providers()
    if name == "auto":
        return next((key for key in ("tensorrt", "cuda") if PROVIDERS[key] in available), "cpu")
    if name not in PROVIDERS:
        raise OptionError("provider", name, "auto, " + ", ".join(PROVIDERS))
    if PROVIDERS[name] not in available:
        here = ", ".join(key for key, value in PROVIDERS.items() if value in available)
        raise EngineError(f"provider {name!r} is not in this ONNX Runtime; accepted here: {here} (install animax[gpu])")
    return name


def default_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class OnnxDenoiser:
    """The network as an ONNX graph; a ``Denoiser``. Safe to call from several threads.

    Args:
        path: the graph.
        provider: a key of ``PROVIDERS``.
        threads: for one call on the CPU; None takes all cores.

    Raises:
        EngineError: the session cannot be made, or a call fails.
    """

    def __init__(self, path: Path, provider: str = "cpu", threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # spinning threads steal the cores from the stages between steps and from other requests
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        names = [PROVIDERS[provider]] + (["CPUExecutionProvider"] if provider != "cpu" else [])
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=names)
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {path.name} on {provider}: {_first_line(error)}") from error
        active = self._session.get_providers()
        if PROVIDERS[provider] not in active:
            raise EngineError(f"provider {provider!r} did not start; ONNX Runtime runs on {', '.join(active)}")
        self.provider = provider

    def __call__(
        self,
        rgb: Latents,
        pose: Latents,
        template_rgb: Latents,
        template_pose: Latents,
        sigma: Latents,
        text: Latents,
        rays: Latents,
    ) -> tuple[Latents, Latents]:
        """See ``Denoiser``."""
        values = (rgb, pose, template_rgb, template_pose, sigma, text, rays)
        feed = {name: np.ascontiguousarray(value, np.float32) for name, value in zip(INPUTS, values, strict=True)}
        try:
            clean_rgb, clean_pose = self._session.run(list(OUTPUTS), feed)
        except Exception as error:
            raise EngineError(f"the denoiser failed: {_first_line(error)}") from error
        return clean_rgb, clean_pose


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
