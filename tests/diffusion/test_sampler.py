from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from animax.diffusion import sampler
from animax.diffusion.clock import Tempo
from animax.diffusion.sampler import Condition, Prompt, Schedule, joined, nothing_known, packed, windows_of
from animax.errors import Cancelled, GenerationError

CHANNELS, WIDTH = 6, 8


def sample(*arguments, **options):
    """The clip's latents, where they are one a frame."""
    return joined(sampler.sample(*arguments, **options))


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
        prompt=Prompt(0, np.ones((16, WIDTH), np.float32)),
    )


def planned_condition(tempo):
    plain = condition()
    return replace(plain, prompt=plain.prompt._replace(tempo=tempo, plan=planned_by))


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("spacing", sampler.SPACINGS)
def test_flow_arrives_at_the_prediction(steps, spacing):
    made = sample(Oracle(prompted=0.7), condition(), 33, 0, Schedule(steps, 1.0, spacing))
    assert made.pose.shape == (4, 33, CHANNELS, 4, 4)
    np.testing.assert_allclose(made.pose, 0.7, atol=1e-6)
    np.testing.assert_allclose(made.rgb, 0.7, atol=1e-6)


def test_guidance_extrapolates_from_the_unprompted_prediction():
    made = sample(Oracle(prompted=1.0, unprompted=0.25), condition(), 33, 0, Schedule(4, 3.0))
    np.testing.assert_allclose(made.pose, 0.25 + 3 * 0.75, atol=1e-5)


@pytest.mark.parametrize(("image", "prompt", "parts"), [(3.0, 5.0, 3), (1.0, 5.0, 2), (3.0, 1.0, 3), (1.0, 1.0, 1)])
def test_two_scales_weigh_the_image_and_the_prompt(image, prompt, parts):
    """x̂(∅, ∅) = 1, x̂(image, ∅) = 1 + 0.1, x̂(image, prompt) = 1 + 0.1 + 0.01."""
    batches = []

    def denoiser(rgb, pose, template_rgb, template_pose, sigma, text, rays):
        told = [1 + 0.1 * bool(np.any(t) and np.any(c)) + 0.01 * np.any(s)
                for t, c, s in zip(template_rgb, template_pose, text, strict=True)]  # fmt: skip
        assert all(np.any(t) == np.any(c) for t, c in zip(template_rgb, template_pose, strict=True))
        batches.append(len(told))
        level = np.array(told, np.float32)[:, None, None, None, None, None]
        return np.zeros_like(rgb) + level, np.zeros_like(pose) + level

    made = sample(denoiser, condition(), 33, 0, Schedule(1, prompt, guidance_image=image))
    assert batches == [parts]
    np.testing.assert_allclose(made.pose, 1 + 0.1 * image + 0.01 * prompt, atol=1e-5)


PACKED = Schedule(2, 1.0, frames=17, patch=4, history=2, packed=True)


class Slots:
    """Records what is clean; the answer is the number of the call's slot."""

    def __init__(self):
        self.sigmas = []

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        self.sigmas.append(sigma[0])
        level = np.arange(sigma.shape[1], dtype=np.float32)[None, None, :, None, None, None]
        return np.zeros_like(rgb) + level, np.zeros_like(pose) + level


def test_packed_windows_have_a_latent_a_slot_and_ask_for_their_history():
    asked = []

    def history(takes, count):
        asked.append((len(takes), count, takes[-1].begin, takes[-1].end))
        slots = 1 + (count - 1) // 4
        return sampler.Sample(np.full((4, slots, 3, 8, 8), 7, np.float32), np.full((4, slots, 6, 4, 4), 7, np.float32))

    denoiser = Slots()
    takes = sampler.sample(denoiser, condition(), 40, 0, PACKED, history=history)
    assert [(take.begin, take.end) for take in takes] == [(0, 17), (5, 17), (5, 16)]
    assert asked == [(1, 5, 0, 17), (2, 5, 5, 17)]
    assert all(take.latents.frames == 5 for take in takes)
    assert [list(sigma > 0) for sigma in denoiser.sigmas[::2]] == [[True] * 5] + [[False] * 2 + [True] * 3] * 2
    np.testing.assert_allclose(takes[1].latents.pose[0, :, 0, 0, 0], [7, 7, 2, 3, 4], atol=1e-6)


def test_a_pinned_frame_gives_its_packed_slot():
    known = nothing_known(condition(), 17)
    for at in (0, 6):
        known.latents.pose[:, at], known.latents.rgb[:, at] = at + 1, at + 1
        known.pose[at], known.rgb[at] = True, True
    by_slot = packed(known, PACKED.slot_of(np.arange(17)))
    assert list(by_slot.whole(np.ones(CHANNELS, bool))) == [True, False, True, False, False]
    assert list(by_slot.latents.pose[0, [0, 2], 0, 0, 0]) == [1, 7]
    denoiser = Slots()
    (take,) = sampler.sample(denoiser, condition(), 17, 0, PACKED, known=known)
    np.testing.assert_allclose(take.latents.rgb[0, :, 0, 0, 0], [1, 1, 7, 3, 4], atol=1e-6)
    assert list(denoiser.sigmas[0] > 0) == [False, True, False, True, True]


@pytest.mark.parametrize("frames", [8, 20, 48])
def test_a_packed_loop_is_a_circle_of_slots(frames):
    class First:
        """Says 1, but for the first slot of a window nonsense."""

        def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
            out = np.ones_like(rgb), np.ones_like(pose)
            for array in out:
                array[:, :, 0] = 100
            return out

    assert PACKED.period(frames + 1.4) == frames
    (take,) = sampler.sample(First(), condition(), frames, 0, PACKED, loop=True)
    assert (take.begin, take.end, take.loop, take.latents.frames) == (0, frames, True, frames // 4)
    np.testing.assert_allclose(take.latents.pose, 1, atol=1e-5)


class Gaussian:
    """What is best to say of clean latents that are normal with standard deviation ``spread``: the flow then scales
    noise by ``spread``."""

    def __init__(self, spread):
        self.spread = spread

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        level = float(sigma.max())
        share = (1 - level) * self.spread**2 / ((1 - level) ** 2 * self.spread**2 + level**2)
        return rgb * np.float32(share), pose * np.float32(share)


@pytest.mark.parametrize("spread", [1.0, 3.0, 10.0])
def test_eight_steps_keep_the_spread_of_what_is_sampled(spread):
    made = sample(Gaussian(spread), condition(), 33, 0, Schedule(8, 1.0, "log_snr")).pose.std()
    assert made == pytest.approx(spread, rel=0.15)


def test_steps_are_those_of_diffusers():
    diffusers = pytest.importorskip("diffusers", reason="diffusers is missing: pip install 'animax[wan]'")
    torch = pytest.importorskip("torch")
    theirs = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        solver_order=2,
        flow_shift=3.0,
        final_sigmas_type="zero",
    )
    sigmas = np.r_[np.linspace(0.98, 0.1, 9), 0.0]
    theirs.set_timesteps(9)
    theirs.sigmas = torch.tensor(sigmas)
    theirs.timesteps = torch.arange(9.0)
    random, solver = np.random.default_rng(0), sampler.Solver()
    z = random.standard_normal((4, 5, 3, 2, 2), np.float32)
    ours, reference = sampler.Sample(z, z), torch.from_numpy(z)
    for (now, after), t in zip(pairwise(sigmas), theirs.timesteps, strict=True):
        push = random.standard_normal(z.shape, np.float32)
        clean = sampler.Sample(np.tanh(ours.rgb + push), np.tanh(ours.pose + push))
        said = np.tanh(reference.numpy() + push)
        velocity = (reference - torch.from_numpy(said)) / now
        reference = theirs.step(velocity, t, reference, return_dict=False)[0]
        ours = solver.step(ours, clean, now, after)
        np.testing.assert_allclose(ours.pose, reference.numpy(), atol=1e-5)
    np.testing.assert_array_equal(ours.rgb, ours.pose)


def test_schedule_falls_from_pure_noise_to_clean():
    for spacing, shift in (("log_snr", 1.0), ("flow", 1.0), ("flow", 3.0), ("flow", 8.0)):
        sigmas = Schedule(9, 1.0, spacing, shift).sigmas()
        assert len(sigmas) == 10
        assert sigmas[0] == 1.0
        assert sigmas[-1] == 0.0
        assert np.all(np.diff(sigmas) < 0)
    # a larger shift spends more steps at high noise
    assert np.mean(Schedule(9, 1.0, shift=8.0).sigmas()) > np.mean(Schedule(9, 1.0, shift=1.0).sigmas())


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
    windows = len(windows_of(frames, schedule, condition().prompt))
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


class Smoother:
    """A denoiser with a sense of time: every frame is drawn towards its neighbours within the window."""

    def __init__(self):
        self.texts = []

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        self.texts.append(float(text[0, 0, 0]))
        return tuple(gaussian_filter1d(x, 2.0, axis=2, mode="nearest") * np.float32(2.0) for x in (rgb, pose))


def seam(made):
    steps = np.abs(np.diff(made.pose, axis=1)).mean(axis=(0, 2, 3, 4))
    return np.abs(made.pose[:, 0] - made.pose[:, -1]).mean(), steps.max()


@pytest.mark.parametrize("frames", [4, 16, 32, 33, 50, 96])
def test_a_loop_has_no_seam_at_any_length(frames):
    schedule = Schedule(6, 1.0)
    looped = sample(Smoother(), condition(), frames, 3, schedule, loop=True)
    assert looped.frames == frames
    gap, largest = seam(looped)
    assert gap <= 1.1 * largest
    if frames > 16:
        straight, inner = seam(sample(Smoother(), condition(), frames, 3, schedule))
        assert straight > 2 * inner


def test_a_loop_has_no_beginning():
    """Over many seeds no frame differs much from the one before it, wherever on the circle it lies."""
    schedule = Schedule(12, 1.0)
    made = [sample(Smoother(), condition(), 32, seed, schedule, loop=True).pose for seed in range(6)]
    spread = np.mean(
        [np.abs(np.diff(np.concatenate([m, m[:, :1]], axis=1), axis=1)).mean((0, 2, 3, 4)) for m in made], 0
    )
    assert spread.max() < 2 * spread.min()
    assert abs(spread[-1] / np.median(spread) - 1) < 0.1


def given(frames, value=3.0):
    known = nothing_known(condition(), frames)
    known.latents.rgb[:] = value
    known.latents.pose[:] = value
    return known


def test_nothing_known_changes_nothing():
    schedule = Schedule(3, 1.0)
    plain, same = (sample(Echo(), condition(), 90, 1, schedule, known=known) for known in (None, given(90)))
    assert plain.pose.tobytes() == same.pose.tobytes()
    assert plain.rgb.tobytes() == same.rgb.tobytes()


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("frames", [20, 33, 70])
def test_what_is_known_comes_back_unchanged(frames, loop):
    known = given(frames)
    pinned = [0, 7, frames - 1]
    known.rgb[pinned] = True
    known.pose[pinned] = True
    known.pose[:, 2] = True
    made = sample(Echo(), condition(), frames, 0, Schedule(3, 1.0), known=known, loop=loop)
    assert np.all(made.pose[:, pinned] == 3.0)
    assert np.all(made.rgb[:, pinned] == 3.0)
    assert np.all(made.pose[:, :, 2] == 3.0)
    assert not np.any(made.pose[:, 1:7, 3] == 3.0)


def test_slots_that_are_known_whole_are_given_clean():
    known = given(33)
    known.rgb[[0, *range(29, 33)]] = True
    known.pose[[0, *range(29, 33)]] = True
    known.pose[5] = True
    oracle = Oracle()
    sample(oracle, condition(), 33, 0, Schedule(2, 1.0), known=known)
    for sigma in oracle.sigmas:
        np.testing.assert_array_equal(sigma[0] == 0, [True, *[False] * 7, True])


def test_a_last_pose_is_held_to_the_end_of_its_window_and_has_room_before_it():
    known = given(40)
    known.rgb[39] = True
    known.pose[39] = True
    oracle = Oracle()
    made = sample(oracle, condition(), 40, 0, Schedule(1, 1.0), known=known)
    assert made.frames == 40
    assert len(oracle.sigmas) == 2
    # windows of 20 fresh frames each: the second begins at 20, so 39 is its frame 9 + 19 and slots after it are clean
    np.testing.assert_array_equal(np.flatnonzero(oracle.sigmas[1][0] == 0), [0, 1, 2, 8])


def test_the_prompt_changes_at_its_frame():
    schedule = Schedule(1, 1.0)
    other = 5 * np.ones((16, WIDTH), np.float32)
    denoiser = Smoother()
    made = sample(denoiser, condition(), 60, 0, schedule, changes=[Prompt(20, other)])
    plain = sample(Smoother(), condition(), 60, 0, schedule)
    assert denoiser.texts == [1.0, 5.0, 5.0]
    np.testing.assert_array_equal(made.pose[:, :20], plain.pose[:, :20])
    windows = windows_of(60, schedule, condition().prompt, [Prompt(20, other)])
    assert [(w.begin, w.end, w.history) for w in windows] == [(0, 20, 0), (20, 44, 9), (44, 60, 9)]
    # a change that falls on the first frame leaves nothing to the prompt before
    first = windows_of(60, schedule, condition().prompt, [Prompt(0, other)])
    assert [(w.begin, w.end) for w in first] == [(0, 33), (33, 57), (57, 60)]
    assert all(w.prompt.text is other for w in first)
    # early changes have less history to go on from
    assert [w.history for w in windows_of(40, schedule, Prompt(0, other), [Prompt(3, other), Prompt(6, other)])] == [
        0,
        1,
        5,
        9,
    ]


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("frames", [2, 33, 34, 57, 58, 161])
def test_windows_cover_a_clip_without_gap(frames, even):
    schedule = Schedule(1, 1.0)
    windows = windows_of(frames, schedule, Prompt(0, np.zeros((1, 1), np.float32)), even=even)
    assert windows[0].begin == 0
    assert windows[-1].end == frames
    assert all(a.end == b.begin for a, b in pairwise(windows))
    assert all(w.history + w.end - w.begin <= schedule.frames for w in windows)
    assert all(w.history <= w.begin for w in windows)
    assert len(windows) == len(windows_of(frames, schedule, Prompt(0, np.zeros((1, 1), np.float32))))


def test_cancel_is_heard_before_every_step_of_a_loop():
    asked = []

    def stop():
        asked.append(True)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        sample(Echo(), condition(), 64, 0, Schedule(5, 1.0), loop=True, should_stop=stop)
    assert len(asked) == 4


def stepped(offsets, slope=0.1, patch=4):
    """A straight motion (1, F, 2) whose slots are each off by their ``offsets``, and the slots."""
    slots = np.concatenate([[0], 1 + np.repeat(np.arange(len(offsets) - 1), patch)])
    line = slope * np.arange(len(slots)) + np.asarray(offsets)[slots]
    return np.repeat(line[None, :, None], 2, axis=2).astype(np.float32), slots


def test_slots_go_on_from_one_another():
    pose, slots = stepped([0.0, 0.0, 0.6, -0.3])
    made = sampler.joined_slots(pose, slots, np.zeros(len(slots), bool))
    before, after = (np.abs(np.diff(p[0, :, 0], n=2)).max() for p in (pose, made))
    assert after < 0.5 * before
    # a seam's correction ends where the slots' middles are
    np.testing.assert_allclose(made[0, [1, 2], 0], pose[0, [1, 2], 0], atol=1e-6)


def test_what_goes_on_already_stays():
    pose, slots = stepped([0.3, 0.3, 0.3])
    np.testing.assert_allclose(sampler.joined_slots(pose, slots, np.zeros(9, bool)), pose, atol=1e-6)


@pytest.mark.parametrize("given", [slice(0, 5), slice(5, 9), slice(0, 9)])
def test_given_frames_stay_and_the_others_come_to_them(given):
    pose, slots = stepped([0.0, 0.0, 0.5])
    known = np.zeros(9, bool)
    known[given] = True
    made = sampler.joined_slots(pose, slots, known)
    np.testing.assert_array_equal(made[:, given], pose[:, given])
    if not known.all():
        seam = made[0, 5, 0] - made[0, 4, 0]
        assert abs(seam - 0.1) < 0.3 * abs(pose[0, 5, 0] - pose[0, 4, 0] - 0.1)


def test_a_window_s_slots_are_joined():
    """Of a denoiser that puts every slot somewhere else."""

    def denoiser(rgb, pose, template_rgb, template_pose, sigma, text, rays):
        places = np.random.default_rng(0).standard_normal(sigma.shape[1]).astype(np.float32)
        made = np.concatenate([places[:1], np.repeat(places[1:], 4)])
        return np.zeros_like(rgb), np.zeros_like(pose) + made[:, None, None, None]

    made = sample(denoiser, condition(), 33, 0, Schedule(2, 1.0)).pose[0, :, 0, 0, 0]
    inner = np.random.default_rng(0).standard_normal(9).astype(np.float32)[1:]
    assert np.abs(np.diff(made)[4::4]).max() < 0.6 * np.abs(np.diff(inner)).max()


class Planned:
    """Takes the plan for the answer, and records what it is given."""

    def __init__(self):
        self.noisy, self.plans = [], []

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays, clock, plan):
        self.noisy.append(pose)
        self.plans.append(plan)
        return np.zeros_like(rgb), plan


def planned_by(turns):
    """Every latent is the time in turns."""
    return np.broadcast_to(turns[None, :, None, None, None], (4, len(turns), CHANNELS, 4, 4)).astype(np.float32)


WALK, FALL = Tempo(True, 20.0, 0.25), Tempo(False, 30.0)


def test_a_plan_goes_on_from_window_to_window_and_begins_anew_with_a_prompt():
    denoiser, asked = Planned(), planned_condition(WALK)
    change = Prompt(40, np.zeros((16, WIDTH), np.float32), FALL, lambda turns: planned_by(100 + turns))
    made = sample(denoiser, asked, 80, 0, Schedule(2, 3.0), changes=[change]).pose[2, :, 1, 0, 0]
    frames = np.arange(80)
    np.testing.assert_allclose(made[:40], 0.25 + frames[:40] / 20, atol=1e-5)
    assert (np.diff(made[38:52]) > 0).all()  # from the one to the other
    np.testing.assert_allclose(made[54:], 100 + (frames[54:] - 40) / 30, atol=1e-4)
    assert all(len(plan) == 2 and np.array_equal(plan[0], plan[1]) for plan in denoiser.plans)


@pytest.mark.parametrize("frames", [19, 40, 61])
def test_the_plan_of_a_loop_is_whole_turns(frames):
    made = sample(Planned(), planned_condition(WALK), frames, 0, Schedule(3, 1.0), loop=True)
    turns = max(1, round(frames / 20))
    np.testing.assert_allclose(made.pose[1, :, 2, 3, 3], 0.25 + np.arange(frames) * turns / frames, atol=1e-5)


def test_what_does_not_turn_round_goes_back_to_its_beginning_in_a_loop():
    made = sample(Planned(), planned_condition(FALL), 40, 0, Schedule(3, 1.0), loop=True)
    course = made.pose[0, :, 0, 0, 0]
    np.testing.assert_allclose(course[:28], np.arange(28) / 40, atol=1e-5)
    steps = np.abs(np.diff(np.append(course, course[0])))
    assert steps.max() < 0.15
    assert steps[-1] < 0.02


@pytest.mark.parametrize("loop", [False, True])
def test_a_share_of_what_differs_from_the_plan_is_taken(loop):
    class Further(Planned):
        def __call__(self, *given):
            rgb, plan = super().__call__(*given)
            return rgb, plan + 4

    asked, schedule = planned_condition(WALK), Schedule(3, 1.0, boldness=0.25)
    made = sample(Further(), asked, 40, 0, schedule, loop=loop)
    bold = sample(Further(), asked, 40, 0, replace(schedule, boldness=1.0), loop=loop)
    np.testing.assert_allclose((bold.pose - made.pose)[:, :33], 3, atol=1e-4)
    without = sample(Oracle(), condition(), 40, 0, replace(schedule, guidance=1.0), loop=loop)
    np.testing.assert_allclose(without.pose, 1, atol=1e-4)


def test_a_plan_is_led_to_what_is_given():
    """Frame 0 on all channels, the last on one; what is given is as it is."""
    planned, given = planned_by(np.zeros(33)), nothing_known(condition(), 33)
    given.latents.pose[:] = 2.0
    given.pose[0], given.pose[32, 1] = True, True
    course = sampler.led(planned, given)
    assert not planned.any()
    assert not course[:, [0, 32], 1].any()  # where it is given, the plan does not matter
    one, two = course[3, :, 0, 0, 0], course[0, :, 1, 2, 1]
    assert one[1] == pytest.approx(2 * (1 - 1 / sampler.LED) ** 2)
    assert (np.diff(one[1:]) <= 0).all()
    assert not one[12:].any()
    np.testing.assert_allclose(two[1:20], one[1:20])
    np.testing.assert_allclose(two[20:32], one[1:13][::-1], atol=1e-6)


def test_a_plan_stays_where_what_is_given_is_as_planned():
    planned = planned_by(np.linspace(0, 1, 33))
    given = nothing_known(condition(), 33)
    given.latents.pose[:] = planned
    given.pose[5:9] = True
    np.testing.assert_array_equal(sampler.led(planned, given), planned)
    assert sampler.led(None, given) is None
    assert sampler.led(planned, None) is planned
