import numpy as np
import pytest

from animax.diffusion.sampler import Condition, Schedule, sample
from animax.errors import Cancelled, GenerationError

CHANNELS, WIDTH = 6, 8


class Oracle:
    """A denoiser that knows the clean answer, for the prompted and the unprompted half of the batch."""

    def __init__(self, prompted=1.0, unprompted=0.0):
        self.levels = {1: prompted, 0: unprompted}
        self.sigmas, self.histories = [], []

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        level = np.array([self.levels[int(np.any(row))] for row in text], np.float32)[:, None, None, None, None, None]
        self.sigmas.append(sigma)
        self.histories.append(pose[0, :, sigma_frames(sigma[0]) == 0])
        return np.zeros_like(rgb) + level, np.zeros_like(pose) + level


def sigma_frames(sigma, patch=4):
    return np.concatenate([sigma[:1], np.repeat(sigma[1:], patch)])


def condition(channels=None, seed=0):
    random = np.random.default_rng(seed)
    return Condition(
        rgb=random.standard_normal((4, 3, 8, 8), np.float32),
        pose=random.standard_normal((4, CHANNELS, 4, 4), np.float32),
        channels=np.ones(CHANNELS, bool) if channels is None else channels,
        rays=np.zeros((4, 6, 4, 4), np.float32),
        text=np.ones((16, WIDTH), np.float32),
    )


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_arrives_at_the_prediction(steps, shift):
    made = sample(Oracle(prompted=0.7), condition(), 33, 0, Schedule(steps, 1.0, shift))
    assert made.pose.shape == (4, 33, CHANNELS, 4, 4)
    np.testing.assert_allclose(made.pose, 0.7, atol=1e-6)
    np.testing.assert_allclose(made.rgb, 0.7, atol=1e-6)


def test_guidance_extrapolates_from_the_unprompted_prediction():
    made = sample(Oracle(prompted=1.0, unprompted=0.25), condition(), 33, 0, Schedule(4, 3.0))
    np.testing.assert_allclose(made.pose, 0.25 + 3 * 0.75, atol=1e-5)


def test_schedule_falls_from_pure_noise_to_clean():
    for shift in (1.0, 3.0, 8.0):
        sigmas = Schedule(9, 1.0, shift).sigmas()
        assert sigmas[0] == 1.0
        assert sigmas[-1] == 0.0
        assert np.all(np.diff(sigmas) < 0)
    # a larger shift spends more steps at high noise
    assert np.mean(Schedule(9, 1.0, 8.0).sigmas()) > np.mean(Schedule(9, 1.0, 1.0).sigmas())


def test_unused_channels_stay_zero():
    used = np.array([True, False, True, True, False, True])
    made = sample(Oracle(), condition(used), 33, 0, Schedule(3, 1.0))
    assert np.all(made.pose[:, :, ~used] == 0)
    assert np.all(made.pose[:, :, used] == 1)


class Echo:
    """A denoiser whose answer depends on its noisy input, so that seeds matter."""

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        return np.tanh(rgb), np.tanh(pose)


def test_same_seed_same_bytes_and_other_seed_other_bytes():
    schedule = Schedule(3, 1.0)
    a, b, c = (sample(Echo(), condition(), 33, seed, schedule) for seed in (5, 5, 6))
    assert a.pose.tobytes() == b.pose.tobytes()
    assert a.rgb.tobytes() == b.rgb.tobytes()
    assert not np.allclose(a.pose, c.pose)


@pytest.mark.parametrize("frames", [2, 33, 34, 57, 58, 161])
def test_any_length_goes_on_from_the_clean_end(frames):
    schedule = Schedule(2, 1.0)
    oracle = Oracle()
    made = sample(oracle, condition(), frames, 0, schedule)
    assert made.frames == frames
    windows = schedule.windows(frames)
    assert len(oracle.sigmas) == 2 * windows
    for call, sigma in enumerate(oracle.sigmas):
        given = 0 if call < 2 else schedule.history
        assert np.all(sigma[0, :given] == 0)
        assert np.all(sigma[0, given:] > 0)
        # the history that the network saw is the clean end of the window before: the oracle's own answer
        np.testing.assert_allclose(oracle.histories[call], 1.0, atol=1e-6)


def test_the_first_frames_of_a_longer_clip_are_those_of_a_shorter_one():
    schedule = Schedule(3, 1.0)
    short, long = (sample(Echo(), condition(), frames, 1, schedule) for frames in (33, 90))
    np.testing.assert_array_equal(short.pose, long.pose[:, :33])


def test_cancel_is_heard_before_every_step():
    steps = []

    def stop():
        return len(steps) == 2

    with pytest.raises(Cancelled, match="step 3 of 5"):
        sample(
            Oracle(),
            condition(),
            33,
            0,
            Schedule(5, 1.0),
            on_step=lambda step, total: steps.append((step, total)),
            should_stop=stop,
        )
    assert steps == [(1, 5), (2, 5)]


def test_numbers_that_are_not_finite_are_named():
    with pytest.raises(GenerationError, match="not finite at step 1"):
        sample(Oracle(prompted=np.nan), condition(), 33, 0, Schedule(2, 1.0))
