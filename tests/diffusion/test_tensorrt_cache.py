"""The cache of TensorRT engines, with files in the place of engines: nothing here needs a GPU."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from animax.diffusion import engine, tensorrt_cache
from animax.diffusion.tensorrt_cache import SEAL, Device, EngineCache, EngineKey, this_device
from animax.errors import EngineError, OptionError

DEVICE = Device("A GPU", "9.0", "580.1", "10.9.0", "1.31.1")
KEY = EngineKey("ab" * 32, DEVICE, "fp16", (1, 2, 16))


def engines(content=b"engine"):
    def make(folder):
        (folder / "graph_sm90.engine").write_bytes(content)
        (folder / "graph_sm90.profile").write_bytes(b"profile")

    return make


def unreachable(folder):
    raise AssertionError("built again")


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "cache")


def left_over(cache):
    return sorted(path.name for path in cache.root.iterdir() if path.suffix != ".lock" and path.name != "timings")


def test_built_once(cache):
    assert cache.build(KEY, engines())
    assert not cache.build(KEY, unreachable)
    assert cache.build(KEY, engines(b"better"), anew=True)
    assert (cache.folder(KEY) / "graph_sm90.engine").read_bytes() == b"better"
    assert left_over(cache) == [KEY.folder]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, model="cd" * 32),
        replace(KEY, precision="bf16"),
        replace(KEY, batch=(1, 2, 8)),
        *(replace(KEY, device=replace(DEVICE, **{name: "other"})) for name in Device.__dataclass_fields__),
    ],
)
def test_everything_that_an_engine_depends_on_asks_for_another(cache, other):
    cache.build(KEY, engines())
    assert cache.build(other, engines())
    assert len(left_over(cache)) == 2


def cut(folder):
    (folder / "graph_sm90.engine").write_bytes(b"eng")


def unsealed(folder):
    (folder / SEAL).unlink()


def half_sealed(folder):
    (folder / SEAL).write_text((folder / SEAL).read_text()[:40])


def lost(folder):
    (folder / "graph_sm90.profile").unlink()


def foreign(folder):
    seal = json.loads((folder / SEAL).read_text())
    seal["key"]["device"]["gpu"] = "Another GPU"
    (folder / SEAL).write_text(json.dumps(seal))


def grown(folder):
    (folder / "another_sm90.engine").write_bytes(b"engine")


def listless(folder):
    (folder / SEAL).write_text("[]")


@pytest.mark.parametrize("damage", [cut, unsealed, half_sealed, lost, foreign, grown, listless])
def test_what_is_torn_or_foreign_is_built_anew(cache, damage):
    cache.build(KEY, engines())
    damage(cache.folder(KEY))
    assert cache.find(KEY.model, DEVICE, 16) is None
    assert cache.build(KEY, engines())
    assert cache.find(KEY.model, DEVICE, 16) == KEY


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_build_that_fails_leaves_what_was_there(cache, failure):
    cache.build(KEY, engines())

    def fail(folder):
        (folder / "graph_sm90.engine").write_bytes(b"half")
        raise failure

    with pytest.raises(failure):
        cache.build(KEY, fail, anew=True)
    assert left_over(cache) == [KEY.folder]
    assert not cache.build(KEY, unreachable)


def test_what_killed_builds_left_is_removed_and_nothing_else(cache):
    for name in (f"{KEY.folder}.killed", f"{KEY.folder}.killed.old", "another.killed"):
        (cache.root / name).mkdir(parents=True)
        (cache.root / name / "half.engine").write_bytes(b"half")
    cache.build(KEY, engines())
    assert left_over(cache) == [KEY.folder, "another.killed"]


def test_timings_are_shared_whole_or_not_at_all(cache):
    """Two builds of different engines run at the same time: each writes a file of its own."""
    seen = []

    def measure(content):
        def make(folder):
            engines()(folder)
            path = folder / "timings" / "sm90.timing"
            seen.append(path.read_bytes() if path.exists() else b"")
            path.write_bytes(content)
            assert not (cache.root / "timings" / "sm90.timing").exists() or seen[-1]

        return make

    def fail(folder):
        measure(b"half")(folder)
        raise RuntimeError

    cache.build(KEY, measure(b"one"))
    with pytest.raises(RuntimeError):
        cache.build(replace(KEY, precision="bf16"), fail)
    cache.build(replace(KEY, precision="fp32"), measure(b"two"))
    assert seen == [b"", b"one", b"one"]
    assert (cache.root / "timings" / "sm90.timing").read_bytes() == b"two"


def test_a_file_that_the_build_misses_is_not_the_cache_s_fault(cache):
    def fail(folder):
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(EngineError, match="cannot be built: No such file"):
        cache.build(KEY, fail)


def test_a_build_of_nothing_is_an_error(cache):
    with pytest.raises(EngineError, match="built no engine"):
        cache.build(KEY, lambda folder: None)
    assert left_over(cache) == []


def build_slowly(root, log):
    def make(folder):
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.5)
        engines()(folder)

    EngineCache(root).build(KEY, make)


def test_of_several_processes_one_builds(cache, tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=build_slowly, args=(cache.root, log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "built\n"


def test_the_server_finds_engines_of_any_precision_that_take_its_batches(cache):
    wide = replace(KEY, precision="bf16", batch=(1, 4, 32))
    cache.build(KEY, engines())
    cache.build(wide, engines())
    assert cache.find(KEY.model, DEVICE, 16) == wide  # built last
    assert cache.find(KEY.model, DEVICE, 32) == wide
    assert cache.find(KEY.model, DEVICE, 33) is None
    assert cache.find("cd" * 32, DEVICE, 1) is None
    assert cache.find(KEY.model, replace(DEVICE, driver="581.0"), 1) is None


def test_options_are_those_of_onnx_runtime(cache):
    options = cache.options(KEY, {"rgb": ["batch", 4, 33], "sigma": ["batch", 9]})
    assert options["trt_profile_min_shapes"] == "rgb:1x4x33,sigma:1x9"
    assert options["trt_profile_opt_shapes"] == "rgb:2x4x33,sigma:2x9"
    assert options["trt_profile_max_shapes"] == "rgb:16x4x33,sigma:16x9"
    assert (options["trt_fp16_enable"], options["trt_bf16_enable"]) == ("1", "0")
    assert options["trt_engine_cache_path"] == str(cache.folder(KEY))
    assert not any("timing" in name for name in options)  # whoever only reads engines writes no timings
    options = cache.options(KEY, {"sigma": ["batch", 9]}, cache.root / "new")
    assert options["trt_engine_cache_path"] == str(cache.root / "new")
    assert options["trt_timing_cache_path"] == str(cache.root / "new" / "timings")


@pytest.mark.parametrize("change", [{"precision": "int8"}, {"batch": (0, 1, 2)}, {"batch": (1, 3, 2)}])
def test_keys_are_checked(change):
    with pytest.raises(OptionError, match="accepted"):
        replace(KEY, **change)


@pytest.fixture
def gpu(monkeypatch):
    """TensorRT's module and the driver's tool, as far as they are asked."""
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.9.0"))

    def answer(text):
        monkeypatch.setattr(
            tensorrt_cache.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, stdout=text)
        )

    return answer


def test_the_device_is_what_the_driver_says(gpu):
    gpu("NVIDIA H100 80GB HBM3, 9.0, 580.65.06\n")
    found = this_device()
    assert (found.gpu, found.compute, found.driver) == ("NVIDIA H100 80GB HBM3", "9.0", "580.65.06")
    gpu("A GPU, of some kind, 9.0, 580.1\n")
    assert this_device().gpu == "A GPU, of some kind"
    gpu("No devices were found\n")
    with pytest.raises(EngineError, match="accepted: an NVIDIA GPU"):
        this_device()


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, "0"), ("", "0"), ("2,3", "2"), ("GPU-1a,GPU-2b", "GPU-1a"), ("MIG-1a", "0")]
)
def test_the_device_is_the_first_that_is_shown(monkeypatch, visible, asked):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert tensorrt_cache._first_gpu() == asked


@pytest.mark.parametrize("module", [None, SimpleNamespace()])
def test_without_the_library_the_extra_is_named(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(EngineError, match=r"animax\[gpu\]"):
        this_device()


def test_the_server_builds_what_is_missing_and_takes_what_is_there(gpu, cache, monkeypatch):
    """A recorded provider: it writes an engine where ONNX Runtime is told to, at the first call."""
    gpu("A GPU, 9.0, 580.1\n")
    shapes = {name: ["batch", 2] for name in engine.INPUTS}
    zeros = engine.OnnxGraph.zeros
    calls = []

    class Recorded:
        inputs = shapes
        _types = dict.fromkeys(shapes)

        def __init__(self, path, provider, options):
            self.options = options

        def zeros(self, batch):
            return zeros(self, batch)

        def __call__(self, **inputs):
            calls.append(inputs["sigma"].shape)
            engines()(tensorrt_cache.Path(self.options["trt_engine_cache_path"]))

    monkeypatch.setattr(engine, "OnnxGraph", Recorded)
    monkeypatch.setattr(engine, "input_shapes", lambda path: shapes)
    first = engine.tensorrt_options(None, KEY.model, "fp16", 16, cache)
    assert calls == [(1, 2), (2, 2), (16, 2)]
    assert engine.tensorrt_options(None, KEY.model, "fp16", 16, cache) == first
    assert len(calls) == 3
    assert tensorrt_cache.Path(first["trt_engine_cache_path"], SEAL).is_file()
    assert engine.engine_precision("int8") == "fp32"


def test_shapes_of_the_shipped_network():
    from animax.diffusion.registry import model_folder

    shapes = engine.input_shapes(model_folder("embedded") / "denoiser.onnx")
    assert list(shapes) == [*engine.INPUTS, engine.CLOCK, engine.PLAN]
    assert all(
        not isinstance(shape[0], int) and all(isinstance(n, int) for n in shape[1:]) for shape in shapes.values()
    )
