"""Laws of the network, on small sizes; the trunk against diffusers' Wan, which nobody here wrote."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from animax_engine.dataset.batches import draw_splats  # noqa: E402
from animax_engine.network import (  # noqa: E402
    EMBEDDED,
    WAN_1_3B,
    Guess,
    NetworkConfig,
    PrincipalComponents,
    Stream,
    VideoPoseTransformer,
    attend,
    by_slot,
    from_patches,
    rotary_angles,
    rotate,
    solved,
    to_patches,
)

SMALL = replace(
    EMBEDDED,
    rgb=Stream(3, 8, (4, 8, 8), components=5),
    pose=Stream(6, 4, (4, 4, 4), components=10),
    width=48,
    depth=2,
    heads=2,
    ffn=64,
    text_width=12,
    marker_width=32,
)
PLAIN = Stream(6, 4, (4, 2, 2))
PATCHES = replace(SMALL, rgb=PLAIN, pose=PLAIN, marker_width=0, plan=False)
"""Tokens are patches, four a slot."""


def build(config=SMALL, seed=0):
    torch.manual_seed(seed)
    network = VideoPoseTransformer(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # no zero-initialised part may hide
            parameter.copy_(torch.randn_like(parameter) * 0.15)
        for components in network.components.values():
            components.variance.copy_(torch.rand_like(components.variance) + 0.1)
    return network


def inputs(config=SMALL, batch=2, views=4, frames=9, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    rgb, pose = ((s.channels, s.size, s.size) for s in (config.rgb, config.pose))
    slots = 1 + (frames - 1) // config.pose.patch[0]
    return {
        "rgb": normal(batch, views, frames, *rgb),
        "pose": normal(batch, views, frames, *pose),
        "template_rgb": normal(batch, views, *rgb),
        "template_pose": normal(batch, views, *pose),
        "sigma": torch.rand((batch, slots), generator=generator),
        "text": normal(batch, 5, config.text_width),
        "rays": normal(batch, views, 6, config.pose.size, config.pose.size),
    }


def close(a, b, tolerance=1e-4):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("stream", [SMALL.rgb, SMALL.pose, Stream(16, 8, (1, 2, 2))])
@pytest.mark.parametrize("slots", [1, 3])
def test_patches_round_trip(stream, slots):
    frames = 1 + (slots - 1) * stream.patch[0]
    latents = torch.randn(2, 3, frames, stream.channels, stream.size, stream.size)
    patches = to_patches(latents, stream)
    assert patches.shape == (2, 3, slots, stream.grid**2, stream.patch_width)
    close(from_patches(patches, stream, frames), latents, 1e-6)
    close(patches.square().sum(), latents.square().sum(), 1e-5)


@pytest.mark.parametrize("config", [SMALL, PATCHES])
def test_outputs_have_the_inputs_shapes(config):
    given = inputs(config)
    with torch.no_grad():
        rgb, pose = build(config)(**given)
    assert rgb.shape == given["rgb"].shape
    assert pose.shape == given["pose"].shape


@pytest.mark.parametrize("config", [SMALL, PATCHES])
def test_a_batch_is_its_samples(config):
    network, given = build(config), inputs(config, batch=3)
    with torch.no_grad():
        together = network(**given)
        alone = [network(**{name: value[i : i + 1] for name, value in given.items()}) for i in range(3)]
    for k in range(2):
        close(together[k], torch.cat([one[k] for one in alone]))


@pytest.mark.parametrize("config", [SMALL, PATCHES])
def test_views_can_be_permuted(config):
    """No view has a place of its own but through its template and rays."""
    network, given = build(config), inputs(config)
    order = [2, 0, 3, 1]
    permuted = {n: v if n in ("sigma", "text") else v[:, order] for n, v in given.items()}
    with torch.no_grad():
        expected, made = network(**given), network(**permuted)
    for k in range(2):
        close(made[k], expected[k][:, order])


def test_views_see_each_other_only_with_cross_view_attention():
    given = inputs()
    changed = {**given, "pose": given["pose"].clone()}
    changed["pose"][:, 1] += 1.0
    for multi_view in (True, False):
        network = build(replace(SMALL, multi_view=multi_view))
        with torch.no_grad():
            before, after = network(**given)[1], network(**changed)[1]
        assert torch.allclose(before[:, 0], after[:, 0], atol=1e-6) is not multi_view
        assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-3)


def test_rgb_and_pose_see_each_other():
    network, given = build(), inputs()
    changed = {**given, "rgb": given["rgb"] + 1.0}
    with torch.no_grad():
        assert not torch.allclose(network(**given)[1], network(**changed)[1], atol=1e-3)


def test_new_parts_leave_a_fresh_network_as_it_was():
    """Cross-view attention, rays and the modality embedding start at zero: stage 2 begins where stage 1 ended, but for
    markers, which settle their motion by what all views see of it."""
    torch.manual_seed(0)
    full = VideoPoseTransformer(SMALL).eval()
    for head in (full.markers.guessing, full.rgb_head):  # these start at zero too, and would hide everything else
        torch.nn.init.normal_(head.weight)
    plain = VideoPoseTransformer(replace(SMALL, multi_view=False, modality_embedding=False)).eval()
    missing = plain.load_state_dict(full.state_dict(), strict=False)
    assert not missing.missing_keys
    given = inputs()
    one_view = {n: v if n in ("sigma", "text") else v[:, :1] for n, v in given.items()}
    with torch.no_grad():
        close(full(**given)[0], plain(**given)[0], 1e-5)
        close(full(**one_view)[1], plain(**one_view)[1], 1e-5)


def test_a_fresh_network_is_the_best_linear_guess():
    """Wiener's filter: of zero-mean coefficients with variance λ in noise of variance ν, (1 − σ) λ / ((1 − σ)² λ +
    σ² ν) times what is seen, added to rest."""
    torch.manual_seed(3)
    network, given = VideoPoseTransformer(SMALL), inputs()
    for components in network.components.values():
        components.variance.copy_(torch.rand_like(components.variance))
    for parameter in network.markers.patterns.parameters():  # these start small, since at nothing they would not learn
        torch.nn.init.zeros_(parameter)
    slots = [0, *[1] * (given["sigma"].shape[1] - 1)]
    sigma = given["sigma"][:, None, :, None, None]
    signal = 1 - network.per_frame(given["sigma"])[:, None, :, None, None, None]
    with torch.no_grad():
        outputs = network(**given)
        for name, made in zip(("rgb", "pose"), outputs, strict=True):
            components = network.components[name]
            variance, noise = components.variance[slots][:, None], components.noise[slots][:, None]
            rest = network.at_rest(name, given[f"template_{name}"])[:, :, None]
            seen = components.encode(given[name] - signal * rest)
            gain = (1 - sigma) * variance / ((1 - sigma) ** 2 * variance + sigma**2 * noise)
            close(made, rest + components.decode(gain * seen, 9), 1e-5)


def still(components, given, slot=1):
    """The bias of a gate that says: nothing moves."""
    c_in, c_skip, c_out = components.preconditioning(given["sigma"])
    return (-c_skip / (c_in * c_out))[0, 0, slot, 0]


def test_gates_reach_every_coefficient_through_a_narrow_trunk():
    """That nothing moves is said of all of them at once, though the trunk is narrower than they are many."""
    network, given = VideoPoseTransformer(SMALL), inputs()
    given["sigma"] = torch.full_like(given["sigma"], 0.5)
    components = network.components["rgb"]
    with torch.no_grad():
        network.rgb_gate.bias.copy_(still(components, given))
        differs = components.encode(network(**given)[0] - given["template_rgb"][:, :, None])
    assert differs[:, :, 1:].abs().max() < 1e-5


def some_guess(together, rank=3, views=2, slots=3, markers=5, generator=None):
    """Components of four, and a guess of a clip's motion by them."""
    components = PrincipalComponents(replace(SMALL.pose, channels=markers, components=4), by_channel=True)
    components.variance.copy_(torch.rand(2, 4, generator=generator) + 0.1)
    shape = (1, views, slots, markers, 4)
    mean, rest = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) + 0.1
    return components, Guess(mean, rest, torch.randn((*shape, rank), generator=generator), together)


@pytest.mark.parametrize("together", [True, False])
def test_settled_is_the_posterior_mean(together):
    """Against the dense formula for Gaussians, m + (1 − σ) C (A + (1 − σ)² C)⁻¹ (z − (1 − σ) m) with C of the clean
    coefficients and A of the noise."""
    generator = torch.Generator().manual_seed(2)
    components, guess = some_guess(together, generator=generator)
    sigma = torch.tensor([[0.0, 0.7, 0.9]])
    noisy = torch.randn(guess.mean.shape, generator=generator)
    made = components.settled(noisy, guess, sigma, torch.tensor(0.0))
    scale = by_slot(components.variance, 3).sqrt().expand(guess.mean.shape)
    noise = (sigma[:, None, :, None, None] ** 2 * by_slot(components.noise, 3)).expand(guess.mean.shape)
    signal = (1 - sigma)[:, None, :, None, None].expand(guess.mean.shape)
    for views in [slice(0, 2)] if together else [slice(0, 1), slice(1, 2)]:
        mean, left, variance, one, level, z = (
            x[:, views].flatten().double().numpy()
            for x in (guess.mean * scale, guess.rest, scale**2, signal, noise, noisy)
        )
        factors = (guess.patterns * scale[..., None])[:, views].flatten(0, 4).double().numpy()
        prior = factors @ factors.T + np.diag(left * variance)
        seen = one[:, None] * prior * one + np.diag(level)
        expected = mean + prior * one @ np.linalg.solve(seen, z - one * mean)
        np.testing.assert_allclose(made[:, views].flatten().numpy(), expected, atol=2e-4)


def test_what_views_share_of_their_noise_counts_once():
    """Four views of one and the same noise tell a pattern's share as well as one of them does."""
    components, guess = some_guess(True, rank=1, views=1)
    z, sigma = torch.randn(guess.mean.shape), torch.full((1, 3), 0.9)
    four = Guess(
        *(x.expand(-1, 4, *x.shape[2:]) for x in (guess.mean, guess.rest)),
        guess.patterns.expand(-1, 4, -1, -1, -1, -1),
        True,
    )
    one = components.settled(z, guess, sigma, torch.tensor(0.0))
    made = components.settled(z.expand(-1, 4, *z.shape[2:]), four, sigma, torch.tensor(3.0))
    close(made, one.expand_as(made), 1e-5)


def test_equations_are_solved_as_numpy_does():
    a = torch.randn(5, 8, 40, dtype=torch.float64)
    matrix, right = torch.eye(8) + a @ a.mT, torch.randn(5, 8, 2, dtype=torch.float64)
    np.testing.assert_allclose(solved(matrix, right), np.linalg.solve(matrix.numpy(), right.numpy()), atol=1e-9)


def test_preconditioning_gives_unit_variance():
    """In the first slot too, of which noise is drawn on its one frame."""
    components = PrincipalComponents(replace(SMALL.pose, components=40))
    components.variance.copy_(torch.linspace(0.01, 4.0, 80).reshape(2, 40))
    sigma, generator = torch.tensor([[0.5, 0.02, 0.5, 0.98]]), torch.Generator().manual_seed(0)
    r = torch.randn(20_000, 1, 4, 1, 40, generator=generator)
    r = r * components.variance[[0, 1, 1, 1]][:, None].sqrt()
    frames = 1 + 3 * SMALL.pose.patch[0]
    white = torch.randn(20_000, 1, frames, SMALL.pose.channels, *[SMALL.pose.size] * 2, generator=generator)
    noise = components.encode(white)[:, :, :, :1]
    level = sigma[:, None, :, None, None]
    z = (1 - level) * r + level * noise
    c_in, c_skip, c_out = components.preconditioning(sigma)
    for values in (c_in * z, (r - c_skip * z) / c_out):
        close(values.var(dim=0), torch.ones_like(values[0]), 0.05)


@pytest.mark.parametrize("by_channel", [False, True])
def test_components_keep_lengths_and_undo_themselves(by_channel):
    components = PrincipalComponents(replace(SMALL.pose, components=12), by_channel=by_channel)
    coefficients = torch.randn(2, 3, 3, components.places, len(components.basis))
    inner = components.encode(components.decode(coefficients, 9))
    close(inner[:, :, 1:], coefficients[:, :, 1:], 1e-5)
    # a slot of one frame keeps what such a slot can hold, noise included
    close(inner[:, :, 0], coefficients[:, :, 0] @ components.first_slot().T, 1e-5)


def test_the_trunk_sees_only_what_differs_from_the_template():
    """Moving template and noisy pictures alike, as far as noise lets them show, moves the prediction alike."""
    network, given = build(), inputs()
    shift = torch.randn_like(given["template_rgb"])
    signal = 1 - network.per_frame(given["sigma"])[:, None, :, None, None, None]
    # the template token itself is hidden, so that only the subtraction is looked at
    for parameter in network.rgb_template.parameters():
        torch.nn.init.zeros_(parameter)
    moved = {
        **given,
        "template_rgb": given["template_rgb"] + shift,
        "rgb": given["rgb"] + signal * shift[:, :, None],
    }
    with torch.no_grad():
        before, after = network(**given)[0], network(**moved)[0]
    close(after - before, shift[:, :, None].expand_as(before))


def test_every_rig_s_rest_pose_is_the_same_clip():
    """Its channels in the middle of their maps, wherever the template shows them."""
    network, given = build(), inputs()
    space, channels = network.config.latent_space, SMALL.pose.channels
    mask = torch.ones(2, channels)
    mask[1, 2] = 0
    template = draw_splats(torch.rand(2, 4, 1, channels, 2), mask, space)[:, :, 0]
    middle = draw_splats(torch.full((2, 4, 1, channels, 2), 0.5), mask, space)[:, :, 0]
    close(network.at_rest("pose", template), middle, 1e-5)
    given |= {"template_pose": template, "pose": middle[:, :, None].expand_as(given["pose"])}
    given["sigma"] = torch.zeros_like(given["sigma"])
    with torch.no_grad():
        close(network(**given)[1], given["pose"], 1e-4)


def test_the_plan_takes_the_place_of_the_rest_pose():
    """Where nothing is known of how plans are left, a clip about its plan is one about the rest pose, moved by it."""
    network, given = build(), inputs()
    moved = inputs(seed=5)["pose"]
    with torch.no_grad():
        network.markers.planned.weight.zero_()
        _, before = network(**given)
        signal = 1 - network.per_frame(given["sigma"])[:, None, :, None, None, None]
        plan = network.at_rest("pose", given["template_pose"])[:, :, None] + moved
        _, after = network(**{**given, "pose": given["pose"] + signal * moved}, plan=plan)
    close(after, before + moved, 1e-3)


def test_what_differs_from_a_plan_depends_on_it():
    network, given = build(), inputs()
    rest = network.at_rest("pose", given["template_pose"])[:, :, None].expand_as(given["pose"])
    moved = inputs(seed=5)["pose"]
    with torch.no_grad():
        still = network(**given, plan=rest)[1]
        away = [network(**given, plan=rest + scale * moved)[1] - still for scale in (1.0, 2.0)]
        assert (away[1] - 2 * away[0]).abs().max() > 0.01
        torch.testing.assert_close(network(**given)[1], still)


def test_a_plan_takes_a_clock_and_components():
    for config in (replace(SMALL, clock=False), replace(PATCHES, plan=True)):
        with pytest.raises(ValueError, match="a plan without clock or components"):
            VideoPoseTransformer(config)


def in_use(given, channels):
    """``given`` with templates that show only these channels."""
    template = torch.zeros_like(given["template_pose"])
    template[:, :, channels] = given["template_pose"][:, :, channels]
    return given | {"template_pose": template}


def test_it_does_not_matter_on_which_channel_a_marker_lies():
    network, given = build(), in_use(inputs(), [0, 1, 3, 5])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = given | {"pose": given["pose"][:, :, :, order], "template_pose": given["template_pose"][:, :, order]}
    with torch.no_grad():
        rgb, pose = network(**given)
        other_rgb, other_pose = network(**permuted)
    close(other_rgb, rgb)
    close(other_pose, pose[:, :, :, order])


def test_channels_that_are_not_in_use_say_nothing_and_are_told_nothing():
    network, given = build(), in_use(inputs(), [0, 1, 3, 5])
    changed = given | {"pose": given["pose"].clone()}
    changed["pose"][:, :, :, [2, 4]] += torch.randn(2, 4, 9, 2, 4, 4)
    with torch.no_grad():
        _, pose = network(**given)
        _, other = network(**changed)
    close(other, pose)
    close(pose[:, :, :, [2, 4]], torch.zeros_like(pose[:, :, :, [2, 4]]))


def test_channels_that_are_not_in_use_may_be_left_out():
    network, given = build(), in_use(inputs(), [0, 1, 3, 5])
    fewer = given | {n: given[n][..., [0, 1, 3, 5], :, :] for n in ("pose", "template_pose")}
    with torch.no_grad():
        rgb, pose = network(**given)
        other_rgb, other_pose = network(**fewer)
    close(other_rgb, rgb)
    close(other_pose, pose[:, :, :, [0, 1, 3, 5]])


def test_a_marker_moves_by_what_is_known_of_the_others():
    network, given = build(), in_use(inputs(), [0, 1, 3, 5])
    for name in ("pose", "template_pose"):
        changed = given | {name: given[name].clone()}
        changed[name][..., 3, :, :] += 1.0
        with torch.no_grad():
            before, after = network(**given)[1], network(**changed)[1]
        assert not torch.allclose(before[:, :, :, 0], after[:, :, :, 0], atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"marker_width": 0},
        {"pose": Stream(6, 4, (4, 2, 2), components=10), "rgb": Stream(3, 8, (4, 4, 4), components=5)},
    ],
)
def test_components_of_pose_are_by_marker_and_slot(change):
    with pytest.raises(ValueError, match="accepted with components: one token a slot, and a marker_width"):
        VideoPoseTransformer(replace(SMALL, **change))


def test_the_two_tokens_of_a_place_share_their_position():
    """Swapping what the two modalities carry swaps the outputs, when nothing but position could tell them apart."""
    config = replace(PATCHES, modality_embedding=False)
    given = inputs(config)
    swapped = {
        **given,
        "rgb": given["pose"],
        "pose": given["rgb"],
        "template_rgb": given["template_pose"],
        "template_pose": given["template_rgb"],
    }
    for shared in (True, False):
        network = build(replace(config, shared_positions=shared))
        with torch.no_grad():
            rgb, pose = network(**given)
            other_rgb, other_pose = network(**swapped)
        assert torch.allclose(rgb, other_pose, atol=1e-4) is shared
        assert torch.allclose(pose, other_rgb, atol=1e-4) is shared


def test_the_modality_embedding_tells_them_apart():
    network, given = build(PATCHES), inputs(PATCHES)
    same = {**given, "rgb": given["pose"], "template_rgb": given["template_pose"]}
    with torch.no_grad():
        rgb, pose = network(**same)
    assert not torch.allclose(rgb, pose, atol=1e-3)


def test_rotary_attention_depends_on_differences_of_place_only():
    angles = rotary_angles(6, 1, 1, 24)
    q, k = torch.randn(2, 1, 1, 1, 24).unbind()

    def score(i, j):
        turned = [rotate(x, angles[n].cos(), angles[n].sin()) for x, n in ((q, i), (k, j))]
        return (turned[0] * turned[1]).sum()

    close(score(0, 2), score(3, 5))
    assert not torch.isclose(score(0, 2), score(0, 3), atol=1e-4)


def test_plain_attention_equals_the_fused_kernel():
    q, k, v = torch.randn(3, 2, 4, 17, 8)
    bias = torch.where(torch.rand(2, 1, 1, 17) < 0.3, -1e4, 0.0)
    for b in (None, bias):
        close(attend(q, k, v, b), torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=b), 1e-5)


def test_configuration_round_trips_through_plain_values():
    import json

    for config in (EMBEDDED, WAN_1_3B, SMALL):
        assert NetworkConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


def test_unequal_token_grids_are_refused():
    with pytest.raises(ValueError, match=r"4² tokens.*1²"):
        VideoPoseTransformer(replace(SMALL, rgb=Stream(3, 8, (4, 2, 2))))


def test_wan_size_builds_with_shared_latents():
    with torch.device("meta"):
        network = VideoPoseTransformer(WAN_1_3B)
    parameters = sum(p.numel() for p in network.parameters())
    across_views = sum(p.numel() for n, p in network.named_parameters() if "view_attn" in n)
    assert network.shared_latents
    # Wan2.1-T2V-1.3B holds 1.42 billion parameters; what AnimaX adds beside cross-view attention is small
    assert abs((parameters - across_views) / 1.42e9 - 1) < 0.02
