"""Prompts for generated motions, in the style of the training captions: five of growing length."""

from __future__ import annotations

import numpy as np

PHRASES: dict[str, tuple[str, str, str, str, str]] = {
    # action: order, then what follows "NOUN", "a NOUN", "a DESCRIPTION" and one of the forms of _tail
    "idle": ("stand idle", "standing idle", "standing still and breathing", "shifting its weight",
             "waiting in place"),
    "walk": ("walk", "walking", "walking forward", "taking calm steps forward", "strolling along"),
    "run": ("run", "running", "running fast", "sprinting ahead with long strides", "racing forward"),
    "sneak": ("sneak", "sneaking", "creeping forward quietly", "prowling with bent knees", "tiptoeing ahead"),
    "jump": ("jump", "jumping", "jumping up and landing", "leaping into the air", "hopping off the ground"),
    "wave": ("wave", "waving", "waving hello with one hand", "raising an arm and waving", "greeting someone"),
    "sit": ("sit down", "sitting down", "sitting down calmly", "lowering itself onto a seat", "taking a seat"),
    "dance": ("dance", "dancing", "dancing happily", "moving to the music", "doing a fun dance"),
    "yes": ("nod yes", "nodding yes", "nodding its head in agreement", "bobbing its head to say yes", "agreeing"),
    "no": ("shake head no", "shaking its head", "shaking its head to say no", "refusing with its head",
           "disagreeing"),
    "death": ("die", "dying", "collapsing to the ground", "being defeated and falling over", "falling down dead"),
    "punch": ("punch", "punching", "throwing a punch", "striking ahead with its fist", "hitting someone"),
    "kick": ("kick", "kicking", "kicking with one leg", "swinging a leg up to kick", "giving a hard kick"),
    "cheer": ("cheer", "cheering", "cheering with raised arms", "celebrating with excitement", "jumping for joy"),
    "trot": ("trot", "trotting", "trotting at a brisk pace", "moving in diagonal steps",
             "jogging along on four legs"),
    "gallop": ("gallop", "galloping", "galloping at full speed", "bounding ahead with long leaps",
               "racing on four legs"),
    "graze": ("graze", "grazing", "lowering its head to eat", "feeding from the ground",
              "chewing something it found"),
    "bark": ("bark", "barking", "calling out loudly", "lifting its head and barking", "barking at a stranger"),
    "bite": ("bite", "biting", "snapping its jaws", "lunging and biting forward", "attacking with a bite"),
    "sit_animal": ("sit", "sitting down", "sitting down on its haunches", "lowering its rump to sit",
                   "taking a seat"),
    "fly": ("fly", "flying", "flapping its wings in flight", "flying with steady wing beats",
            "flying through the air"),
    "glide": ("glide", "gliding", "gliding on still wings", "soaring with spread wings", "sailing through the air"),
    "peck": ("peck", "pecking", "pecking at the ground", "bending down to pick up food", "picking seeds"),
    "stand_flap": ("flap wings", "flapping its wings", "spreading and beating its wings",
                   "stretching its wings on the ground",
                   "beating its wings without taking off"),
    "hop": ("hop", "hopping", "hopping forward on both feet", "bouncing ahead in small jumps", "hopping about"),
    "walk_legs": ("walk", "scuttling along", "scuttling forward on all its legs", "moving its legs in a quick rhythm",
                  "scurrying ahead"),
    "run_legs": ("run", "scuttling fast", "racing ahead on all its legs", "running with a blur of legs",
                 "rushing ahead"),
    "attack": ("attack", "attacking", "lunging forward to attack", "striking at an enemy",
               "making an aggressive attack"),
    "rear_strike": ("rear up", "rearing up", "raising its front legs in threat", "rearing up to look bigger",
                    "threatening"),
    "idle_snake": ("rest", "resting", "lying still and raising its head", "swaying its head a little",
                   "waiting and watching"),
    "slither": ("slither", "slithering forward", "slithering along the ground", "winding its body from side to side",
                "crawling on its belly"),
    "strike": ("strike", "striking forward", "lunging to bite", "snapping forward with its head",
               "darting at its prey"),
    "rise_up": ("rise up", "rising up", "raising its front body and swaying", "lifting its head high off the ground",
                "standing up in threat"),
    "swim": ("swim", "swimming", "swimming forward", "moving through the water with a waving tail",
             "gliding in the sea"),
    "swim_fast": ("swim fast", "swimming fast", "swimming at full speed", "darting through the water",
                  "speeding ahead"),
    "swim_turn": ("turn while swimming", "turning in the water", "swimming a tight turn", "bending its body to turn",
                  "swerving to one side"),
    "idle_fish": ("hover in the water", "hovering in the water", "hanging still in the water",
                  "fanning its fins in place",
                  "floating and waiting"),
    "out_of_water": ("flop", "flopping about", "flopping on the ground", "thrashing its tail on dry land",
                     "gasping on land"),
    "open": ("open", "opening", "swinging open", "opening up slowly", "being opened"),
    "close": ("close", "closing", "swinging shut", "closing again", "being closed"),
    "open_close": ("open and close", "opening and closing", "opening and closing again", "swinging open, then shut",
                   "being opened and shut"),
    "rattle": ("rattle", "rattling", "shaking and rattling", "trembling as if something were inside",
               "shaking wildly"),
    "chomp": ("chomp", "chomping", "hopping and snapping like a mouth", "biting like a living thing", "coming alive"),
    "idle_machine": ("stand by", "standing by", "idling with small movements", "waiting for its next task",
                     "resting"),
    "pick_place": ("pick and place", "moving an object", "picking something up and putting it down",
                   "carrying a part from one side to the other", "sorting parts"),
    "spin": ("spin", "spinning", "turning all the way round", "rotating about its base", "spinning on the spot"),
    "wave_machine": ("wave", "waving", "waving hello", "lifting up and waving its hand", "greeting someone"),
    "inspect": ("inspect", "inspecting something", "looking closely at something", "moving its head around an object",
                "checking a part"),
    "takeoff": ("take off", "taking off", "pushing off the ground and flapping", "lifting off into the air",
                "launching itself"),
}  # fmt: skip


def phrase(action: str, noun: str, description: str, rng: np.random.Generator) -> list[str]:
    """Five prompts, short to long, for an action of a thing."""
    order, short, clause, long, tail = PHRASES[action]
    return [
        order,
        f"{noun} {short}",
        f"{article(noun)} {noun} {clause}",
        f"{article(description)} {description} {long}",
        _tail(noun, description, tail, rng),
    ]


def _tail(noun: str, description: str, clause: str, rng: np.random.Generator) -> str:
    forms = (
        f"the {noun} is {clause}",
        f"show {article(noun)} {noun} {clause}",
        f"animate the {noun}: {clause}",
        f"a 3D {noun} {clause}",
        f"{article(description)} {description}, {clause}",
    )
    return forms[int(rng.integers(len(forms)))]


def article(words: str) -> str:
    """The indefinite article for words without capitals."""
    return "an" if words[0] in "aeiou" else "a"
