"""More captions for a motion, in other forms than those of its data set: orders, statements, names.

All say what the data set's own captions say: their clauses ("lowering its head to eat") are put into other sentences,
with words for the category instead of the rig's own, and common actions get further verbs.
"""

from __future__ import annotations

import random
import re
import zlib
from typing import Any

from animax.procedural.phrases import article
from animax_engine.text.grammar import VERBS, participle, third_person

SUBJECTS: dict[str, tuple[str, ...]] = {
    "humanoid": ("person", "character", "figure", "humanoid"),
    "quadruped": ("animal", "creature", "four-legged animal", "beast"),
    "bird": ("bird", "creature", "animal", "winged animal"),
    "fish": ("sea creature", "creature", "water animal"),
    "arthropod": ("critter", "creature", "bug", "many-legged creature"),
    "snake": ("creature", "animal", "crawling creature"),
    "dragon": ("dragon", "creature", "winged beast"),
    "monster": ("monster", "creature", "character"),
    "robot": ("robot", "machine", "mech"),
    "prop": ("object", "thing", "mechanism"),
}
"""What a rig of each category may be called."""
ANYTHING = ("character", "model", "creature")
"""The same for other categories."""
ADJECTIVES = ("small", "big", "little", "large", "low-poly", "cartoon", "stylised", "young", "old", "strange", "cute")
"""What says nothing about the motion."""

SYNONYMS: dict[str, str] = {
    "idle": "stand idle; stand still; wait; stay in place; stand and breathe; rest on the spot",
    "walk": "walk; walk forward; walk along; walk ahead; take steps forward; stride along",
    "walk_slow": "walk slowly; take slow steps; plod along",
    "walk_legs": "walk; crawl forward on all legs; scuttle along; walk along",
    "walk_back": "walk backwards; step back; back off",
    "run": "run; run forward; run fast; sprint; dash ahead; run along",
    "run_b": "run; run forward; run along",
    "gallop": "gallop; gallop along; run at a gallop; gallop fast",
    "trot": "trot; trot along; jog along",
    "jump": "jump; jump up; leap; leap up and land; jump in the air",
    "hop": "hop; hop along; hop forward; bounce along",
    "leap": "leap; leap forward; jump ahead",
    "sneak": "sneak; sneak along; creep forward; move stealthily",
    "crawl": "crawl; crawl along; crawl forward",
    "death": "die; fall down dead; collapse; drop dead; fall over and die; be killed",
    "death_b": "die; fall down dead; collapse; drop dead",
    "hit": "get hit; take a hit; flinch; recoil; take damage; react to a hit",
    "hit_b": "get hit; take a hit; flinch; recoil; take damage",
    "attack": "attack; strike; attack an enemy; lunge and strike; hit out",
    "attack_kick": "kick backwards; kick with the hind legs; kick out",
    "bite": "bite; snap the jaws; bite at something; snap and bite",
    "headbutt": "headbutt; ram with the head; butt with the head",
    "tail_attack": "attack with the tail; strike with the tail; whip the tail",
    "punch": "punch; throw a punch; strike with the fist; hit with a fist",
    "kick": "kick; kick forward; strike with the foot; kick something",
    "slash": "slash; swing a sword; slash with a weapon; cut with a blade",
    "stab": "stab; thrust a weapon forward; stab ahead",
    "chop": "chop; swing a weapon down; hack with a weapon",
    "shoot": "shoot; fire a shot; fire a weapon",
    "throw": "throw; throw something; hurl an object",
    "block": "block; raise a guard; block an attack",
    "dance": "dance; dance to the music; groove; dance around",
    "wave": "wave; wave hello; wave a hand; greet someone with a wave",
    "yes": "nod; nod yes; nod the head; agree with a nod",
    "no": "shake the head; say no; shake the head in refusal",
    "cheer": "cheer; celebrate; raise the arms and cheer",
    "clap": "clap; clap the hands; applaud",
    "sit": "sit down; sit; take a seat",
    "stand_up": "stand up; get up; rise to the feet",
    "lie_down": "lie down; lie down on the ground",
    "lie_up": "get up; get up from the ground; rise from lying",
    "roll": "roll; roll forward; do a roll",
    "crouch": "crouch; crouch down and move; duck and walk",
    "duck": "duck; duck down; crouch",
    "pickup": "pick something up; pick up an object; bend down to pick something up",
    "interact": "interact; use something; reach out and use something",
    "use_item": "use an item; use something",
    "eat": "eat; feed; eat food; eat from the ground",
    "graze": "graze; eat grass; graze with a lowered head",
    "peck": "peck; peck at the ground; peck at food",
    "bark": "bark; bark loudly",
    "howl": "howl; howl with a raised head",
    "roar": "roar; roar loudly; let out a roar",
    "fly": "fly; fly forward; flap the wings and fly; fly along",
    "fly_idle": "hover; hover in place; fly in place; stay in the air",
    "fly_fast": "fly fast; fly quickly forward; speed through the air",
    "flap": "flap the wings; fly; beat the wings",
    "glide": "glide; glide through the air; soar; glide on spread wings",
    "takeoff": "take off; lift off; take to the air",
    "land_fly": "land; come down and land; touch down",
    "sleep": "sleep; lie asleep",
    "swim": "swim; swim forward; swim along; swim through the water",
    "swim_fast": "swim fast; swim quickly; speed through the water",
    "swim_animal": "swim; paddle; swim along; paddle through the water",
    "slither": "slither; slither forward; slither along; wind along the ground",
    "strike": "strike; strike forward; lunge and bite",
    "sting": "sting; attack with the sting",
    "rear_strike": "rear up; rear up and strike",
    "open": "open; swing open; open up",
    "close": "close; swing shut; shut",
    "open_close": "open and close; open and shut again",
    "spin": "spin; spin around; rotate; turn round and round",
    "pick_place": "pick something up and put it down; move an object; sort parts",
}
"""Further verb phrases by action, in base form; as true of it as the data set's own."""
ADVERBS: dict[str, tuple[str, ...]] = {
    "walk": ("calmly", "steadily", "at an even pace"),
    "walk_legs": ("steadily", "busily"),
    "idle": ("calmly", "quietly", "patiently"),
    "run": ("quickly", "fast", "at full speed"),
    "gallop": ("quickly", "at full speed"),
    "sneak": ("quietly", "carefully"),
    "dance": ("happily", "merrily"),
    "swim": ("steadily", "smoothly"),
    "swim_fast": ("quickly", "at full speed"),
    "fly": ("steadily", "smoothly"),
    "fly_fast": ("quickly", "at full speed"),
    "attack": ("fiercely", "aggressively"),
    "bite": ("fiercely", "aggressively"),
    "roar": ("loudly", "fiercely"),
    "wave": ("happily", "cheerfully"),
    "glide": ("smoothly", "calmly"),
    "slither": ("smoothly", "steadily"),
}
"""Adverbs that agree with what the motion is."""
LOOPS = {
    "walk",
    "run",
    "gallop",
    "trot",
    "swim",
    "fly",
    "idle",
    "flap",
    "slither",
    "walk_legs",
    "swim_fast",
    "fly_fast",
}
"""Actions whose clips are called cycles."""

MORE_VERBS = """
absorb advance agree back bash be blast bleat blow brace bring buck buzz check clench coast collect compress
consume convulse crash crumble cut cycle dart disagree display eject fan feed fight flip flop gasp gather
gesture go grab groove hack have hit hook hurl hunker hurry inspect jet keep labour lash launch leave let load
make mock move nibble nock patrol pivot plod plunge pop prepare quiver race rattle reach recover reel refuse
reject release remain repel retreat return say search settle shamble shift shoot shrug sidewind side-step slice
sort speed spring stay step stir strafe strut swap swerve swing take tense thrash touch tumble twist unlock
whinny whip whirl wince wind withdraw yap zoom bellow channel sail
"""
_BASES = {participle(verb): verb for verb in [v.split()[0] for v in VERBS.split(";") if v.split()] + MORE_VERBS.split()}
_BASES["channelling"] = _BASES.pop("channeling")
"""Base form of every participle that begins a clause."""
_JOINED = re.compile(r"^\S+|(?<= and )[a-z]+")
"""The verbs of a phrase."""


def clause_of(caption: str) -> str | None:
    """The part of a caption from its first participle on, or None: "a fox digging a hole" → "digging a hole"."""
    words = caption.split()
    for i, word in enumerate(words):
        if word.strip(",:") in _BASES:
            return " ".join(words[i:])
    return None


def inflected(clause: str, third: bool) -> str:
    """A clause with its participle, and those joined to it, in the third person or in base form."""

    def form(word: str) -> str:
        base = _BASES[word]
        return third_person(base) if third else base

    words = clause.split()
    for i, word in enumerate(words):
        joined = i == 0 or words[i - 1] in ("and", "then") or words[i - 1].endswith(",")
        bare = word.rstrip(",")
        if joined and bare in _BASES:
            words[i] = form(bare) + word[len(bare) :]
    return " ".join(words)


def synonyms(action: str) -> list[str]:
    """Further names of an action, see ``SYNONYMS``."""
    return [phrase.strip() for phrase in SYNONYMS.get(action, "").split(";") if phrase.strip()]


def variations(action: str, category: str, captions: list[str], count: int = 16) -> list[str]:
    """Up to ``count`` further captions of a motion; the same for all clips of an action in a category.

    Args:
        action: its key, see ``SYNONYMS``.
        category: of the rig.
        captions: of the data set, the order ("walk slowly") first; the clauses are taken from the others.
        count: at most so many, chosen by the action's and the category's names alone.
    """
    rng = random.Random(zlib.crc32(f"{category}/{action}".encode()))
    subjects = SUBJECTS.get(category, ANYTHING)
    phrases = synonyms(action)
    clauses = [clause for clause in map(clause_of, captions[1:] or captions) if clause]
    verbs = phrases + [inflected(clause, third=False) for clause in clauses]
    doing = [_gerund(phrase) for phrase in phrases] + clauses
    does = [_third(phrase) for phrase in phrases] + [inflected(clause, third=True) for clause in clauses]
    adverbs = ADVERBS.get(action, ())
    out: list[str] = []
    for i, (verb, gerund, third) in enumerate(zip(verbs, doing, does, strict=True)):
        subject = rng.choice(subjects)
        if rng.random() < 0.35:
            subject = f"{rng.choice(ADJECTIVES)} {subject}"
        a = article(subject)
        adverb = f" {rng.choice(adverbs)}" if i < len(phrases) and adverbs and rng.random() < 0.4 else ""
        forms = [
            f"the {subject} {third}{adverb}",
            f"{a} {subject} {third}{adverb}",
            f"{a} {subject} {gerund}{adverb}",
            f"the {subject} is {gerund}{adverb}",
            f"{a} {subject} is {gerund}{adverb}",
            f"it {third}{adverb}",
            f"{verb}{adverb}",
            f"{gerund}{adverb}",
            f"make it {verb}{adverb}",
            f"make the {subject} {verb}{adverb}",
            f"animate {a} {subject} {gerund}",
            f"{subject}: {verb}",
        ]
        out += rng.sample(forms, 4)
    if captions:
        name = captions[0]
        out += [f"{name} animation", f"{rng.choice(subjects)}, {name}"]
        if action in LOOPS:
            out += [f"{name} cycle", f"{name} loop"]
    out = [caption for caption in dict.fromkeys(out) if caption not in captions]
    return sorted(rng.sample(out, min(count, len(out))))


def captions_of(clip: dict[str, Any], category: str) -> list[str]:
    """What a clip of the index is told by: its captions, of a borrowed one the order and one other, and ``variations``
    of them, which its action shares with others."""
    own = clip["captions"]
    if clip.get("borrowed") and len(own) > 2:
        own = [own[0], own[1 + zlib.crc32(clip["name"].encode()) % (len(own) - 1)]]
    return list(dict.fromkeys([*own, *variations(clip["action"], category, clip["captions"])]))


def _third(phrase: str) -> str:
    return _JOINED.sub(lambda m: third_person(m[0]) if m[0] in _BASES.values() else m[0], phrase)


def _gerund(phrase: str) -> str:
    return _JOINED.sub(lambda m: participle(m[0]) if m[0] in _BASES.values() else m[0], phrase)
