"""ONNX Runtime: the provider choice and the sessions of a model's graphs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from animax.diffusion.batching import StepBatcher
from animax.diffusion.clock import FEATURES
from animax.diffusion.sampler import Denoiser, Latents
from animax.diffusion.tensorrt_cache import EngineCache, EngineKey, this_device
from animax.errors import EngineError, OptionError
from animax.views.splat import spline_weights

log = logging.getLogger(__name__)

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Names that a user gives, and ONNX Runtime's."""
INPUTS = ("rgb", "pose", "template_rgb", "template_pose", "sigma", "text", "rays")
CLOCK, PLAN = "clock", "plan"
"""Further inputs, in this order after the others, of networks that are told the time and given a plan."""
OUTPUTS = ("clean_rgb", "clean_pose")
TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
"""Of a graph's inputs."""
OVERLAID = (
    "onnxruntime lies over onnxruntime-gpu; accepted: the latter alone "
    "(pip uninstall -y onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu[cuda,cudnn])"
)
USUAL_BATCH = 2
"""Samples that TensorRT optimises an engine for: a guided step of one request."""
MAX_BATCH = {"cpu": 1, "cuda": 16, "tensorrt": 16}
"""Samples in one network call; a guided step has two."""
LARGE_BATCH = 1
"""The same for a network behind a VAE, on any provider: one sample fills a GPU (docs/large_model.md)."""
FALLBACKS = {"cpu": (), "cuda": ("cpu",), "tensorrt": ("cuda", "cpu")}
"""Where the parts of a graph go that a provider does not take."""
CPU_LANES = 2
"""Network calls at the same time on the CPU."""


def largest_batch(provider: str, *, large: bool) -> int:
    """Samples in one network call unless told otherwise, of a network that is ``large`` (behind a VAE) or not."""
    return LARGE_BATCH if large else MAX_BATCH[provider]


def choose_provider(name: str) -> str:
    """The provider to run on: ``auto`` takes TensorRT, CUDA or CPU, whichever is there first.

    Raises:
        OptionError: ``name`` is none of auto, cpu, cuda, tensorrt.
        EngineError: the provider is not in the installed ONNX Runtime.
    """
    available = onnxruntime.get_available_providers()
    hidden = PROVIDERS["cuda"] not in available and is_overlaid()
    if name == "auto":
        if hidden:
            log.warning("%s; running on the CPU", OVERLAID)
        return next((key for key in ("tensorrt", "cuda") if PROVIDERS[key] in available), "cpu")
    if name not in PROVIDERS:
        raise OptionError("provider", name, "auto, " + ", ".join(PROVIDERS))
    if PROVIDERS[name] not in available:
        if hidden:
            raise EngineError(f"provider {name!r} is hidden: {OVERLAID}")
        here = ", ".join(key for key, value in PROVIDERS.items() if value in available)
        raise EngineError(f"provider {name!r} is not in this ONNX Runtime; accepted here: {here} (install animax[gpu])")
    return name


def is_overlaid() -> bool:
    """Whether the packages onnxruntime and onnxruntime-gpu lie over one another: they own the same files, and whichever
    pip wrote last is the one that runs."""
    return all(any(metadata.distributions(name=name)) for name in ("onnxruntime", "onnxruntime-gpu"))


def default_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def load_denoiser(
    path: Path,
    provider: str = "cpu",
    threads: int | None = None,
    max_batch: int | None = None,
    *,
    model: str = "",
    precision: str = "fp32",
) -> Denoiser:
    """The network of a graph, set up to be called by many requests at once.

    On the CPU a call of two samples gains nothing over two calls (docs/decisions.md), so the cores are shared out
    among lanes that run one sample each: the two halves of a guided step, or two requests. Other providers get one
    lane and large batches.

    Args:
        path: the graph.
        provider: a key of ``PROVIDERS``.
        threads: of the network on the CPU; None takes all cores.
        max_batch: samples in one network call; None takes ``MAX_BATCH`` of the provider, 0 turns sharing off: every
            call goes to the network as it comes.
        model: SHA-256 of the model's files, for TensorRT.
        precision: of the stored weights, for TensorRT: it computes in the same where it can.

    Raises:
        EngineError: the session cannot be made.
    """
    threads = threads or default_threads()
    options: dict[str, str] = {}
    if provider == "tensorrt":
        options = tensorrt_options(path, model, precision, max_batch or MAX_BATCH[provider])
    if max_batch == 0:
        return OnnxDenoiser(OnnxGraph(path, provider, threads, options=options))
    lanes = min(CPU_LANES, threads) if provider == "cpu" else 1
    # the lanes compute too: beside them, the session needs threads for the other cores only
    denoiser = OnnxDenoiser(OnnxGraph(path, provider, threads - lanes + 1, options=options))
    return StepBatcher(denoiser, max_batch or MAX_BATCH[provider], lanes)


def load_graph(
    path: Path, provider: str, threads: int | None = None, *, digest: str = "", precision: str = "fp32"
) -> OnnxGraph:
    """A graph that is run on one sample at a time.

    Args:
        path: the graph.
        provider: auto is not accepted here.
        threads: of one call on the CPU; None takes all cores.
        digest: of the graph's files; names TensorRT's engines.
        precision: of the stored weights; TensorRT computes in it.

    Raises:
        EngineError: the session or its engines cannot be made.
    """
    options = tensorrt_options(path, digest, precision, 1) if provider == "tensorrt" else {}
    return OnnxGraph(path, provider, threads, options=options)


def tensorrt_options(
    path: Path, digest: str, precision: str, largest: int, cache: EngineCache | None = None
) -> dict[str, str]:
    """Provider options that name this graph's engines, which are built where there are none yet (minutes).

    Args:
        path: the graph.
        digest: SHA-256 of the graph's files.
        precision: of the stored weights.
        largest: samples in a call.
        cache: default: the user's.

    Raises:
        EngineError: there is no GPU or no TensorRT, or the engines cannot be built.
    """
    cache, device = cache or EngineCache(), this_device()
    key = cache.find(digest, device, largest)
    if key is None:
        key = EngineKey(digest, device, engine_precision(precision), (1, min(USUAL_BATCH, largest), largest))
        build_engines(path, key, cache)
    return cache.options(key, input_shapes(path))


def engine_precision(stored: str) -> str:
    """What TensorRT may compute in for weights that are stored as fp32, fp16, bf16 or int8."""
    return stored if stored in ("fp16", "bf16") else "fp32"


def build_engines(path: Path, key: EngineKey, cache: EngineCache, *, anew: bool = False) -> bool:
    """Build the engines of a graph with ONNX Runtime's TensorRT provider, unless they are in the cache (or ``anew``).

    Returns:
        Whether they were built now.

    Raises:
        EngineError: the provider did not start, or built nothing.
    """

    def make(folder: Path) -> None:
        graph = OnnxGraph(path, "tensorrt", options=cache.options(key, input_shapes(path), folder))
        for batch in sorted(set(key.batch)):  # the first call builds; the others show that the profile holds
            graph(**graph.zeros(batch))

    return cache.build(key, make, anew=anew)


def input_shapes(path: Path) -> dict[str, list[int | str | None]]:
    """Shapes of a graph's inputs by name; a free dimension is a name or None."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS["cpu"]])
    return {value.name: list(value.shape) for value in session.get_inputs()}


class OnnxGraph:
    """A graph in a session of ONNX Runtime. Safe to call from several threads.

    Args:
        path: the graph.
        provider: a key of ``PROVIDERS``.
        threads: of one call on the CPU, the calling one among them; None takes all cores.
        options: of the provider.
        spinning: threads wait for work on their cores instead of leaving these to others; measured, never worth it.

    Attributes:
        inputs: shapes by name; a free dimension is a name or None.
        outputs: likewise.

    Raises:
        EngineError: the session cannot be made, or a call fails.
    """

    def __init__(
        self,
        path: Path,
        provider: str = "cpu",
        threads: int | None = None,
        *,
        options: Mapping[str, str] | None = None,
        spinning: bool = False,
    ) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads or default_threads()
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        names = [PROVIDERS[name] for name in (provider, *FALLBACKS[provider])]
        each = [dict(options or {}), *({} for _ in FALLBACKS[provider])]
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), settings, names, each)
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {path.name} on {provider}: {_first_line(error)}") from error
        active = self._session.get_providers()
        if PROVIDERS[provider] not in active:
            raise EngineError(f"provider {provider!r} did not start; ONNX Runtime runs on {', '.join(active)}")
        self.name = path.stem
        self.provider = provider
        self.inputs = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self.outputs = {value.name: tuple(value.shape) for value in self._session.get_outputs()}
        self._types = {value.name: TYPES.get(value.type) for value in self._session.get_inputs()}

    def __call__(self, **values: NDArray[Any]) -> list[Latents]:
        """The outputs, in the graph's order, for every input by name."""
        feed = {name: np.ascontiguousarray(value, self._types.get(name)) for name, value in values.items()}
        try:
            made: list[Latents] = self._session.run(None, feed)
        except Exception as error:
            raise EngineError(f"the {self.name.replace('_', ' ')} failed: {_first_line(error)}") from error
        return made

    def zeros(self, batch: int = 1) -> dict[str, NDArray[Any]]:
        """Inputs of zeros."""
        sizes = {name: [n if isinstance(n, int) else batch for n in shape] for name, shape in self.inputs.items()}
        return {name: np.zeros(shape, self._types[name]) for name, shape in sizes.items()}


class OnnxDenoiser:
    """The network as an ONNX graph; a ``Denoiser``. Safe to call from several threads.

    Raises:
        EngineError: a call fails.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self.provider = graph.provider

    def __call__(
        self,
        rgb: Latents,
        pose: Latents,
        template_rgb: Latents,
        template_pose: Latents,
        sigma: Latents,
        text: Latents,
        rays: Latents,
        clock: Latents | None = None,
        plan: Latents | None = None,
    ) -> tuple[Latents, Latents]:
        """See ``Denoiser``."""
        values = dict(zip(INPUTS, (rgb, pose, template_rgb, template_pose, sigma, text, rays), strict=True))
        if CLOCK in self._graph.inputs:
            values[CLOCK] = np.zeros((*sigma.shape, FEATURES), np.float32) if clock is None else clock
        if PLAN in self._graph.inputs:
            values[PLAN] = at_rest(template_pose, pose.shape[2]) if plan is None else plan
        clean_rgb, clean_pose = self._graph(**values)
        return clean_rgb, clean_pose


def at_rest(template_pose: Latents, frames: int) -> Latents:
    """Pose latents (B, V, F, C, h, w) of a clip that shows the rest pose: every splat of the template (B, V, C, h, w)
    in the middle of its map."""
    along = spline_weights(np.array(template_pose.shape[-1] / 2), template_pose.shape[-1]).astype(np.float32)
    still = template_pose.sum(axis=(-2, -1), keepdims=True) * (along[:, None] * along)
    return np.repeat(still[:, :, None], frames, axis=2)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
