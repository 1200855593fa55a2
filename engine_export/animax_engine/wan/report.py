"""What the large network is, without its weights: sizes, coverage of Wan's names, memory, work of a step.

Built on the meta device: it takes no memory and no time, at any size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from animax_engine.network import WAN_1_3B, NetworkConfig, VideoPoseTransformer
from animax_engine.wan.cache import VAE_STRIDE, CacheConfig
from animax_engine.wan.key_map import key_map
from animax_engine.wan.recipe import Recipe, prepare
from animax_engine.wan.weights import coverage, network_config, open_weights

GIB = 2**30


def tokens_of(config: NetworkConfig, slots: int) -> int:
    """Tokens of a view: condition and target slots of both modalities."""
    return 2 * (1 + slots) * config.pose.grid**2


def block_activations(config: NetworkConfig, tokens: int) -> int:
    """Numbers that one block keeps for its backward pass, a view: inputs of its linear layers, normalised and modulated
    copies, queries, keys and values of three attentions, the feed-forward layer's inner width twice."""
    attentions = 3 if config.multi_view else 2
    return tokens * ((6 + 5 * attentions) * config.width + 2 * config.ffn)


def step_operations(config: NetworkConfig, tokens: int, views: int) -> float:
    """Floating-point operations of one call: two for every weight and token, and attention's two products."""
    d, linear = config.width, 4 * config.width**2
    attentions = 3 if config.multi_view and views > 1 else 2
    per_token = 2 * (attentions * linear + 2 * d * config.ffn)
    within, across = 4 * tokens * d, 4 * views * config.pose.grid**2 * d if views > 1 else 0
    return float(config.depth * views * tokens * (per_token + within + across))


def report(config: NetworkConfig, frames: int, weights: Path | None = None) -> list[str]:
    """Lines for people.

    Args:
        config: of the network.
        frames: of a clip.
        weights: of Wan, to be compared with the key map; only their names and shapes are read.

    Raises:
        ModelError: the weights do not fit.
    """
    with torch.device("meta"):
        network = VideoPoseTransformer(config)
    ours = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    mapped = [weight.ours for weight in key_map(config)]
    numbers = {name: tensor.numel() for name, tensor in network.state_dict().items()}
    base = sum(numbers[name] for name in mapped)
    added = sum(numbers.values()) - base
    slots = 1 + (frames - 1) // VAE_STRIDE[0]
    tokens = tokens_of(config, slots)
    lines = [
        f"parameters          {(base + added) / 1e6:.1f} M: {base / 1e6:.1f} M of Wan, {added / 1e6:.1f} M added",
        f"key map             {len(mapped)} weights of Wan, {len(set(mapped) & set(ours))} of them in the network",
    ]
    if weights is not None:
        with open_weights(weights) as files:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in files.items()}
        found = coverage(shapes, network, weights.name)
        lines.append(
            f"coverage            {len(found.loaded)} of {len(shapes)} weights of {weights.name}, none left over"
        )
    lines.append(
        f"tokens              {tokens} a view for {frames} frames, {slots} latent slots of {config.pose.grid}²"
    )
    for stage in (1, 2):
        with torch.device("meta"):
            network = VideoPoseTransformer(config)
        recipe = Recipe(stage=stage)  # type: ignore[arg-type]
        prepare(network, recipe)
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        whole = sum(p.numel() for p in network.parameters())
        views = recipe.views
        block = 2 * views * block_activations(config, tokens)
        kept = 2 * views * tokens * config.width * config.depth
        memory = 4 * whole + 12 * trained + block + kept
        work = step_operations(config, tokens, views)
        lines += [
            f"stage {stage}             {views} view{'s' if views > 1 else ''}, {trained / 1e6:.1f} M trained of "
            f"{whole / 1e6:.1f} M",
            f"  weights, fp32     {4 * whole / GIB:.1f} GiB",
            f"  gradients, Adam   {12 * trained / GIB:.1f} GiB",
            f"  activations       {(kept + block) / GIB:.1f} GiB a sample in bf16 with checkpointing: inputs of blocks "
            f"{kept / GIB:.1f}, inside of one {block / GIB:.1f}; without, {block * config.depth / GIB:.0f}",
            f"  together          {memory / GIB:.1f} GiB",
            f"  work              {work / 1e12:.0f} TFLOP a call, {4 * work / 1e12:.0f} a step with checkpointing",
        ]
    return lines


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine wan report``."""
    parser = argparse.ArgumentParser(prog="animax-engine wan report", description=__doc__)
    parser.add_argument("--frames", type=int, default=CacheConfig().frames, help="of a clip (default: %(default)s)")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="Wan's folder, to be checked against the key map")
    args = parser.parse_args(argv)
    config = network_config(args.weights) if args.weights else WAN_1_3B
    print("\n".join(report(config, CacheConfig(frames=args.frames).frames, args.weights)))


if __name__ == "__main__":
    main()
