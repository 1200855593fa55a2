"""TensorRT engines on disk: built once for a model, a GPU and the software between, then shared by all processes.

ONNX Runtime's TensorRT provider builds and reads the engines. Its own cache tells models apart by the names and shapes
of their graphs alone, so that new weights would run on an old engine; here every combination has a folder of its own,
named by all that an engine depends on, and sealed with the digests of its files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from animax.diffusion.manifest import file_entry
from animax.errors import EngineError, OptionError

SEAL = "engines.json"
"""Written last: a folder without it, or with files that it does not describe, was torn and is built anew."""
TIMINGS = "timings"
"""Folder of measured kernels, which further builds need not measure again."""
VARIABLE = "ANIMAX_TENSORRT_CACHE"
PRECISIONS = ("fp32", "fp16", "bf16")
QUERY_SECONDS = 30.0
"""For the driver to answer."""


@dataclass(frozen=True)
class Device:
    """The GPU and the software that an engine is built for; it runs on no other.

    Attributes:
        gpu: name of the GPU.
        compute: its compute capability.
        driver: version.
        tensorrt: version.
        onnxruntime: version.
    """

    gpu: str
    compute: str
    driver: str
    tensorrt: str
    onnxruntime: str


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        model: SHA-256 of the model's files, external weights among them.
        device: what it runs on.
        precision: that TensorRT may compute in: fp32, fp16 or bf16.
        batch: least, usual and largest number of samples in a call (the optimisation profile).

    Raises:
        OptionError: another precision, or a batch that does not rise from 1 or more.
    """

    model: str
    device: Device
    precision: str
    batch: tuple[int, int, int]

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError("precision", self.precision, ", ".join(PRECISIONS))
        least, usual, most = self.batch
        if not 1 <= least <= usual <= most:
            raise OptionError("batch", self.batch, "1 ≤ least ≤ usual ≤ largest")

    @property
    def folder(self) -> str:
        """Name of its folder."""
        facts = json.dumps(asdict(self), sort_keys=True)
        return f"{self.model[:12]}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"


def this_device() -> Device:
    """The first GPU that this process is shown.

    Raises:
        EngineError: there is none, or no TensorRT.
    """
    import onnxruntime

    try:
        version = str(import_module("tensorrt").__version__)  # loads the libraries that ONNX Runtime looks for
    except (ImportError, OSError, AttributeError) as error:  # no package, none of its libraries, or a mere folder
        raise EngineError("TensorRT is not installed; accepted: an installation of animax[gpu]") from error
    query = [
        "nvidia-smi",
        "--query-gpu=name,compute_cap,driver_version",
        "--format=csv,noheader",
        f"--id={_first_gpu()}",
    ]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True).stdout
        gpu, compute, driver = (value.strip() for value in answer.splitlines()[0].rsplit(",", 2))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError) as error:
        raise EngineError("nvidia-smi tells of no GPU; accepted: an NVIDIA GPU with its driver") from error
    return Device(gpu, compute, driver, version, onnxruntime.__version__)


def _first_gpu() -> str:
    """The first of CUDA_VISIBLE_DEVICES, as far as nvidia-smi knows it by that name."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    return first if first.isdigit() or first.startswith("GPU-") else "0"


def default_root() -> Path:
    """``$ANIMAX_TENSORRT_CACHE``, else a folder of the user's caches, by the platform's custom."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "animax" / "tensorrt"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "animax" / "tensorrt"


class EngineCache:
    """A folder of engine folders. Any number of processes may use it at once.

    Args:
        root: default: ``default_root()``.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def folder(self, key: EngineKey) -> Path:
        """Where the engines of ``key`` lie."""
        return self.root / key.folder

    def find(self, model: str, device: Device, largest: int) -> EngineKey | None:
        """The engines of a model for a device that take ``largest`` samples: those that were built last."""
        found = []
        for seal in self.root.glob(f"{model[:12]}-*/{SEAL}"):
            key = _sealed_key(seal.parent)
            if key and key.model == model and key.device == device and key.batch[2] >= largest:
                found.append((seal.stat().st_mtime_ns, key))
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def build(self, key: EngineKey, make: Callable[[Path], None], *, anew: bool = False) -> bool:
        """Have engines in ``folder(key)``; of several processes that ask for them, one builds and the others wait.

        Args:
            key: of the engines.
            make: writes engines into an empty folder. What it raises, and an interruption, leave nothing behind.
            anew: also where they are there.

        Returns:
            Whether they were built now.

        Raises:
            EngineError: ``make`` wrote no engine, or the folder cannot be written.
        """
        from filelock import FileLock

        target = self.folder(key)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock")):
                for left in self.root.glob(f"{target.name}.*/"):  # by builds that were killed
                    shutil.rmtree(left, ignore_errors=True)
                if not anew and _sealed_key(target) == key:
                    return False
                scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=self.root))
                try:
                    self._make(make, scratch)
                    _seal(scratch, key)
                    if target.exists():
                        target.replace(scratch.with_suffix(".old"))
                    scratch.replace(target)
                finally:
                    for left in (scratch, scratch.with_suffix(".old")):
                        shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise EngineError(f"the cache of TensorRT engines cannot be written: {error.strerror}") from error
        return True

    def _make(self, make: Callable[[Path], None], scratch: Path) -> None:
        """Let ``make`` work on timings of its own, then put these in the place of the shared ones, whole."""
        shared, own = self.root / TIMINGS, scratch / TIMINGS
        shared.mkdir(exist_ok=True)
        shutil.copytree(shared, own)
        try:
            make(scratch)
        except OSError as error:
            raise EngineError(f"the engines cannot be built: {error.strerror or error}") from error
        for path in own.iterdir():
            path.replace(shared / path.name)
        shutil.rmtree(own)

    def options(
        self, key: EngineKey, shapes: Mapping[str, Sequence[int | str | None]], folder: Path | None = None
    ) -> dict[str, str]:
        """Options of ONNX Runtime's TensorRT provider.

        Args:
            key: of the engines.
            shapes: of the graph's inputs by name; whatever is no number is the batch.
            folder: where they are being built; default: ``folder(key)``, where they are.
        """
        profile = {
            kind: ",".join(
                f"{name}:{'x'.join(str(size if isinstance(size, int) else batch) for size in shape)}"
                for name, shape in shapes.items()
            )
            for kind, batch in zip(("min", "opt", "max"), key.batch, strict=True)
        }
        timings = {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder / TIMINGS)} if folder else {}
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder or self.folder(key)),
            **timings,
            "trt_fp16_enable": str(int(key.precision == "fp16")),
            "trt_bf16_enable": str(int(key.precision == "bf16")),
            **{f"trt_profile_{kind}_shapes": text for kind, text in profile.items()},
        }


def _seal(folder: Path, key: EngineKey) -> None:
    files = {path.name: asdict(file_entry(path)) for path in sorted(folder.iterdir())}
    if not any(name.endswith(".engine") for name in files):
        raise EngineError("TensorRT built no engine of this graph; accepted: a graph that it can take whole or in part")
    (folder / SEAL).write_text(json.dumps({"key": asdict(key), "files": files}, indent=1))


def _sealed_key(folder: Path) -> EngineKey | None:
    """The key of a folder whose files are those that were sealed, no more and no fewer; None for every other one."""
    try:
        sealed = json.loads((folder / SEAL).read_text())
        facts = sealed["key"]
        key = EngineKey(facts["model"], Device(**facts["device"]), facts["precision"], tuple(facts["batch"]))
        names = {path.name for path in folder.iterdir()} - {SEAL}
        whole = names == set(sealed["files"]) and all(
            asdict(file_entry(folder / name)) == entry for name, entry in sealed["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key if whole and key.folder == folder.name else None
