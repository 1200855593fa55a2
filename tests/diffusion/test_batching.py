"""Requests that share network calls get what they would get alone."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from animax.diffusion.batching import StepBatcher
from animax.diffusion.model import load_model
from animax.diffusion.sampler import Condition, Prompt, Schedule, joined, sample
from animax.errors import Cancelled, EngineError

from .test_sampler import condition


class Network:
    """Multiplies; each call takes ``seconds`` and is noted with the samples it had. ``gate`` holds the calls."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        with self.lock:
            self.batches.append([float(row.flat[0]) for row in rgb])
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.gate.wait(20)
        time.sleep(self.seconds)
        if any(row.flat[0] < 0 for row in rgb) or len(rgb) > 6:
            with self.lock:
                self.running -= 1
            raise EngineError("the denoiser failed: out of memory")
        with self.lock:
            self.running -= 1
        return rgb * 2, pose * 3


def call(batcher, value, samples=1, frames=3):
    one = np.full((samples, 4, frames, 2), value, np.float32)
    rgb, pose = batcher(one, one, one[:, :, 0], one[:, :, 0], one[:, 0, :, 0], one, one)
    assert np.all(rgb == 2 * one)
    assert np.all(pose == 3 * one)
    return rgb


def waiting(batcher, count):
    began = time.monotonic()
    while len(batcher._waiting) < count:
        assert time.monotonic() - began < 10
        time.sleep(0.001)


def test_what_waits_goes_into_the_next_call_together_in_order():
    network = Network()
    batcher = StepBatcher(network, max_batch=4)
    network.gate.clear()
    with ThreadPoolExecutor(8) as threads:
        made = [threads.submit(call, batcher, 1)]
        while not network.batches:
            time.sleep(0.001)
        for i in range(2, 8):
            made.append(threads.submit(call, batcher, i))
            waiting(batcher, i - 1)
        network.gate.set()
        for one in made:
            one.result(10)
    assert network.batches == [[1], [2, 3, 4, 5], [6, 7]]
    assert batcher.batch_sizes == {1: 1, 4: 1, 2: 1}


def test_lanes_run_at_the_same_time_and_never_more_than_there_are():
    network = Network(0.02)
    batcher = StepBatcher(network, max_batch=1, lanes=2)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda i: call(batcher, i, samples=2), range(6)))
    assert network.most == 2
    assert all(len(batch) == 1 for batch in network.batches)


def test_requests_that_denoise_together_stay_together():
    network = Network(0.03)
    batcher = StepBatcher(network, max_batch=8)

    def steps(value):
        for _ in range(10):
            call(batcher, value)
            time.sleep(0.002)  # what the sampler does between steps

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(steps, range(3)))
    assert sum(len(batch) for batch in network.batches) == 30
    assert len(network.batches) <= 14  # 10 and a few at the start; one by one it would be 30


def test_a_newcomer_joins_at_the_next_step():
    network = Network(0.02)
    batcher = StepBatcher(network, max_batch=8)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(lambda: [call(batcher, 1) for _ in range(20)])
        time.sleep(0.1)
        before = len(network.batches)
        call(batcher, 2)
        assert len(network.batches) <= before + 2
        running.result(10)


def test_one_caller_alone_never_waits_for_others():
    network = Network()
    batcher = StepBatcher(network, max_batch=8)
    call(batcher, 1)
    began = time.perf_counter()
    for _ in range(50):
        call(batcher, 1)
    assert time.perf_counter() - began < 0.5


def test_more_than_fit_are_served_in_turn():
    """Round robin: with ten callers and room for two, nobody gets far ahead of the others."""
    network = Network(0.002)
    batcher = StepBatcher(network, max_batch=2)
    done = [0] * 10
    worst = []

    def steps(i):
        for _ in range(8):
            call(batcher, i)
            done[i] += 1
            worst.append(max(done) - min(done))

    network.gate.clear()
    with ThreadPoolExecutor(10) as threads:
        made = [threads.submit(steps, i) for i in range(10)]
        waiting(batcher, 8)
        network.gate.set()
        for one in made:
            one.result(20)
    assert done == [8] * 10
    assert max(worst) <= 4


def test_samples_of_another_shape_go_into_a_call_of_their_own():
    network = Network()
    batcher = StepBatcher(network, max_batch=4)
    network.gate.clear()
    with ThreadPoolExecutor(5) as threads:
        made = [threads.submit(call, batcher, 1)]
        while not network.batches:
            time.sleep(0.001)
        for i, frames in enumerate((3, 5, 3, 5), start=2):
            made.append(threads.submit(call, batcher, i, 1, frames))
            waiting(batcher, i - 1)
        network.gate.set()
        for one in made:
            one.result(10)
    assert network.batches == [[1], [2, 4], [3, 5]]


def test_a_failure_reaches_the_one_at_fault_alone():
    network = Network()
    batcher = StepBatcher(network, max_batch=4)
    network.gate.clear()
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(call, batcher, 1)
        while not network.batches:
            time.sleep(0.001)
        good, bad = threads.submit(call, batcher, 2), threads.submit(call, batcher, -1)
        waiting(batcher, 2)
        network.gate.set()
        first.result(10)
        good.result(10)
        with pytest.raises(EngineError, match="out of memory"):
            bad.result(10)
    call(batcher, 3)  # and the batcher goes on


def test_too_large_a_call_is_made_in_parts():
    network = Network()
    call(StepBatcher(network, max_batch=8), 1, samples=8)
    assert [len(batch) for batch in network.batches] == [8] + [1] * 8


def test_a_cancelled_request_leaves_between_steps_and_the_others_go_on():
    network = Network(0.01)
    batcher = StepBatcher(_Latents(network), max_batch=8)
    stop = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        leaving = threads.submit(sample, batcher, condition(), 33, 0, Schedule(50, 1.0), should_stop=stop.is_set)
        staying = threads.submit(sample, batcher, condition(), 33, 1, Schedule(12, 1.0))
        time.sleep(0.08)
        stop.set()
        with pytest.raises(Cancelled, match="before denoising step"):
            leaving.result(5)
        assert joined(staying.result(20)).frames == 33


class _Latents:
    """A network on latents with a call's bookkeeping."""

    def __init__(self, network):
        self.network = network

    def __call__(self, rgb, pose, *rest):
        time.sleep(self.network.seconds)
        return np.tanh(rgb), np.tanh(pose)


def test_nothing_is_left_of_a_batcher_that_nobody_holds():
    network = Network()
    batcher = StepBatcher(network, max_batch=2)
    call(batcher, 1)
    gone, threads = weakref.ref(batcher), list(batcher._threads._threads)
    del batcher
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def prompted():
    """Two requests on the shipped model, two steps of its schedule, and what each gets when nothing is shared."""
    model = load_model("embedded", provider="cpu", max_batch=0)
    schedule = replace(model.schedule, steps=2)
    size, rgb = model.space.codec.size, model.space.rgb_size
    conditions = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        condition = Condition(
            rgb=random.random((4, 3, rgb, rgb), np.float32),
            pose=random.random((4, model.space.codec.channels, size, size), np.float32),
            channels=np.ones(model.space.codec.channels, bool),
            rays=random.random((4, 6, size, size), np.float32),
            prompt=Prompt(0, model.text.encode([f"walks {seed}"])[0]),
        )
        conditions.append(condition)
    return conditions, schedule, [joined(sample(model.denoiser, conditions[i], 33, i, schedule)) for i in range(2)]


@pytest.mark.parametrize("max_batch", [1, 4])
def test_the_shipped_model_gives_everyone_what_it_gives_one(prompted, max_batch):
    """Bit-identical with one sample a call, as on the CPU by default; within 1e-5 in any other batch."""
    conditions, schedule, unshared = prompted
    denoiser = load_model("embedded", provider="cpu", max_batch=max_batch).denoiser

    def make(i):
        return joined(sample(denoiser, conditions[i], 33, i, schedule))

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(make, range(2)))
    for many, one in zip(together, unshared, strict=True):
        np.testing.assert_allclose(many.pose, one.pose, atol=1e-5)
        np.testing.assert_allclose(many.rgb, one.rgb, atol=1e-5)
    if max_batch == 1:
        alone = make(0)
        assert together[0].pose.tobytes() == alone.pose.tobytes()
        assert together[0].rgb.tobytes() == alone.rgb.tobytes()
