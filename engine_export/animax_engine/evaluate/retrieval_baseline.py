"""The baseline to beat on unseen rigs: the clip with the nearest training caption, retargeted onto the rig."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from animax.assets import load_rig, read_clips
from animax.assets.rig import Rig
from animax.diffusion.text import TextEncoder
from animax.motion.clip import Clip
from animax.motion.retarget import retarget
from animax_engine.dataset.bank import Source

Array = NDArray[np.float64]


class RetrievalBaseline:
    """Answers a prompt with a training clip.

    Args:
        sources: rigs of the training split with their captions.
        text: encoder whose first state stands for a whole caption.
        fps: frames a second of its answers.
    """

    def __init__(self, sources: list[Source], text: TextEncoder, fps: float) -> None:
        self.text, self.fps = text, fps
        self.known = [
            (source, name, caption)
            for source in sources
            for name, facts in (source.clips or {}).items()
            for caption in facts["captions"]
        ]
        captions = sorted({caption for _, _, caption in self.known})
        place = {caption: i for i, caption in enumerate(captions)}
        self._meanings = self._meaning(captions)[[place[caption] for _, _, caption in self.known]]
        self._by_id = {source.id: source for source in sources}
        self._read = lru_cache(maxsize=8)(self._clips)

    def _meaning(self, captions: list[str]) -> Array:
        states = np.concatenate([self.text.encode(captions[i : i + 256])[:, 0] for i in range(0, len(captions), 256)])
        unit: Array = states / np.linalg.norm(states, axis=-1, keepdims=True)
        return unit

    def _clips(self, rig_id: str) -> tuple[Rig, dict[str, Clip]]:
        source = self._by_id[rig_id]
        rig = load_rig(source.path, facing=source.facing)
        return rig, {clip.name: clip for clip in read_clips(rig, fps=self.fps)}

    def nearest(self, prompt: str, category: str) -> tuple[Source, str, str]:
        """Rig, clip name and caption nearest in meaning; among equals a rig of ``category``."""
        closeness = self._meanings @ self._meaning([prompt])[0]
        same = np.array([source.category == category for source, _, _ in self.known])
        return self.known[int(np.argmax(closeness + 1e-3 * same))]

    def answer(self, rig: Rig, prompt: str, category: str) -> Clip:
        """The clip for ``rig``."""
        source, name, _ = self.nearest(prompt, category)
        donor, clips = self._read(source.id)
        return retarget(clips[name], donor, rig)
