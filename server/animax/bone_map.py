"""Which chain of bones of one rig drives which chain of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from animax.errors import OptionError

STRANGE = 1.1
"""Cost above which two chains are not the same part of a body; half the box apart at both ends costs 1."""

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
        """0 (hardly alike) to 1 (surely the same part, or given)."""
        return min(max(1 - self.cost / STRANGE, 0.0), 1.0)

    @staticmethod
    def cost_of(confidence: float) -> float:
        """The inverse of ``confidence``."""
        return (1 - confidence) * STRANGE


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
                        raise OptionError("bone_map", name, f"names of joints of the {which} rig")
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
