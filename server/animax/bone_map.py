"""Which chain of bones of one rig drives which chain of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from animax.errors import OptionError, some_of

STRANGE = 1.1
"""Cost above which two chains are not the same part of a body; half the box apart at both ends costs 1."""

SURE = ((-1.0, 1.0), (0.3, 0.92), (0.5, 0.87), (0.7, 0.84), (0.9, 0.76), (STRANGE, 0.6))
"""Costs, rising, and what share of such pairs is right: limbs found by shape alone, where names tell which belong
together (``animax-engine evaluate --retargeting``)."""

FoundBy = Literal["name", "shape", "given"]


@dataclass(frozen=True)
class ChainPair:
    """A source chain and the target chain that it drives, each from the body outwards, by joint name.

    Attributes:
        source: of the rig that moves; empty: the target chain stays at rest relative to its parent.
        target: of the rig that shall move.
        cost: how unlike the two are, up to ``STRANGE``, negative where their names agree; 0 when given by hand.
        found_by: their names, their place and shape alone, or whoever gave them.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    cost: float = field(default=0.0, compare=False)
    found_by: FoundBy = field(default="given", compare=False)

    @property
    def confidence(self) -> float:
        """How likely the two belong together, 0 to 1; 1 where they were given."""
        if self.found_by == "given":
            return 1.0
        return _interpolated(self.cost, SURE)

    @staticmethod
    def cost_of(confidence: float) -> float:
        """The inverse of ``confidence`` for a pair that was found."""
        return _interpolated(confidence, [(sure, cost) for cost, sure in reversed(SURE)])


def _interpolated(x: float, points: Sequence[tuple[float, float]]) -> float:
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * max(x - x0, 0.0) / (x1 - x0)
    return points[-1][1]


@dataclass(frozen=True)
class BoneMap:
    """Pairs of chains. Target joints in no pair stay at rest relative to their parent.

    ``as_dict`` and ``from_dict`` are for a file that a person reads and corrects.
    """

    pairs: tuple[ChainPair, ...]

    def as_dict(self) -> dict[str, list[dict[str, object]]]:
        """Plain lists and dicts for JSON or YAML."""
        return {
            "chains": [
                {
                    "source": list(pair.source),
                    "target": list(pair.target),
                    "found_by": pair.found_by,
                    "confidence": round(pair.confidence, 2),
                }
                for pair in self.pairs
            ]
        }

    @staticmethod
    def from_dict(data: Mapping[str, object]) -> BoneMap:
        """Inverse of ``as_dict``; how a pair was found is not read: whoever hands it in gives it.

        Raises:
            OptionError: the data has another form.
        """
        accepted = '{"chains": [{"source": [names], "target": [names]}, ...]}'
        entries = data.get("chains") if isinstance(data, Mapping) else None
        if not isinstance(entries, list):
            raise OptionError("bone_map", data, accepted)
        pairs = []
        for entry in entries:
            sides = [entry.get(key) if isinstance(entry, Mapping) else None for key in ("source", "target")]
            if not (all(isinstance(s, list) and all(isinstance(n, str) for n in s) for s in sides) and sides[1]):
                raise OptionError("bone_map", entry, accepted)
            source, target = (tuple(s) for s in sides if s is not None)
            pairs.append(ChainPair(source, target))
        return BoneMap(tuple(pairs))

    def check(self, source: Sequence[str], target: Sequence[str]) -> None:
        """Every name is one of the joints of its rig, and no target joint is driven twice.

        Raises:
            OptionError: naming the joint at fault.
        """
        seen: set[str] = set()
        for pair in self.pairs:
            for which, names, joints in (("source", pair.source, source), ("target", pair.target, target)):
                for name in names:
                    if name not in joints:
                        raise OptionError("bone_map", name, f"names of joints of the {which} rig: {some_of(joints)}")
            for name in pair.target:
                if name in seen:
                    raise OptionError("bone_map", name, "each target joint in one chain only")
                seen.add(name)

    def over(self, guess: BoneMap) -> BoneMap:
        """These pairs, and those of ``guess`` for all joints that these do not name on either side."""
        ours = {name for pair in self.pairs for name in pair.source}
        theirs = {name for pair in self.pairs for name in pair.target}
        kept = []
        for pair in guess.pairs:
            source = tuple(name for name in pair.source if name not in ours)
            target = tuple(name for name in pair.target if name not in theirs)
            if source and target:
                kept.append(replace(pair, source=source, target=target))
        return BoneMap((*self.pairs, *kept))
