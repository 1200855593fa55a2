"""A large network at a reduced size, and how it is trained."""

from dataclasses import replace

from animax_engine.network import WAN_1_3B, Stream
from animax_engine.wan.recipe import Recipe

LATENTS = Stream(4, 4, (1, 2, 2))
SMALL = replace(WAN_1_3B, rgb=LATENTS, pose=LATENTS, width=48, depth=2, heads=2, ffn=64, text_width=12)
RECIPE = Recipe(rank=4, alpha=8, rate=3e-3, warmup=1, drop_image=0.0, drop_text=0.0)
