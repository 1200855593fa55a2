"""A grammar of motion prompts: who (creature or object), does what, how, in which style."""

from __future__ import annotations

import random
from collections.abc import Callable

CREATURES = """
alpaca, ant, antelope, anteater, ape, armadillo, badger, bat, bear, beaver, bee, beetle, bird, bison, boar, buffalo,
bull, bunny, butterfly, camel, cat, caterpillar, centipede, cheetah, chick, chicken, chimpanzee, cobra, cockroach,
cow, coyote, crab, crane, crocodile, crow, deer, dinosaur, dog, dolphin, donkey, dove, dragon, dragonfly, duck, eagle,
eel, elephant, elk, falcon, ferret, fish, flamingo, fly, fox, frog, gazelle, gecko, giraffe, goat, goldfish, goose,
gorilla, grasshopper, griffin, hamster, hare, hawk, hedgehog, hen, heron, hippo, horse, hummingbird, hydra, hyena,
iguana, jaguar, jellyfish, kangaroo, kitten, koala, lamb, leopard, lion, lizard, llama, lobster, lynx, mammoth, manta
ray, mole, monkey, moose, mosquito, moth, mouse, mule, newt, octopus, ostrich, otter, owl, ox, panda, panther, parrot,
peacock, pelican, penguin, pig, pigeon, pony, porcupine, pterodactyl, puppy, rabbit, raccoon, ram, rat, raven,
reindeer, rhino, rooster, salamander, salmon, scorpion, seagull, seahorse, seal, shark, sheep, shrimp, skunk, sloth,
slug, snail, snake, sparrow, spider, squid, squirrel, starfish, stingray, stork, swan, tadpole, termite, tiger, toad,
tortoise, toucan, turkey, turtle, tyrannosaurus, t-rex, velociraptor, triceratops, stegosaurus, vulture, walrus, wasp,
weasel, whale, wolf, wombat, worm, yak, zebra, wyvern, unicorn, centaur, minotaur, pegasus, phoenix, kraken, basilisk,
hound, stallion, mare, foal, calf, cub, fawn, piglet, duckling, raptor, reptile, rodent, insect, animal, creature,
beast, critter, quadruped, biped
"""
PEOPLE = """
man, woman, boy, girl, child, person, human, humanoid, character, figure, hero, heroine, villain, knight, soldier,
guard, warrior, barbarian, viking, samurai, ninja, pirate, cowboy, sheriff, wizard, mage, witch, sorcerer,
necromancer, priest, monk, rogue, thief, assassin, archer, ranger, hunter, king, queen, prince, princess, farmer,
peasant, worker, miner, blacksmith, chef, doctor, nurse, scientist, astronaut, pilot, policeman, firefighter,
businessman, dancer, boxer, fighter, wrestler, athlete, gymnast, clown, teacher, student, old man, old woman,
grandmother, toddler, baby, teenager, adventurer, explorer, zombie, skeleton, ghost, vampire, mummy, werewolf, demon,
devil, angel, fairy, elf, dwarf, gnome, goblin, orc, ogre, troll, giant, cyclops, golem, gargoyle, imp, monster,
alien, mutant, slime, blob, kaiju, mannequin, doll, puppet, scarecrow, snowman, gingerbread man, teddy bear, robot,
android, cyborg, mech, drone, stick figure, ragdoll, mascot, player, enemy, boss, npc, avatar, it, he, she, someone,
everyone, the boss, our hero
"""
OBJECTS = """
car, truck, tank, bus, train, helicopter, airplane, seaplane, spaceship, rocket, boat, ship, submarine, bicycle,
motorcycle, cart, wagon, crane, excavator, tractor, door, gate, chest, box, drawbridge, lever, button, switch, trap,
spike trap, windmill, fan, propeller, rotor, wheel, gear, clock, pendulum, bell, flag, banner, tree, flower, plant,
cactus, mushroom, vine, leaf, lamp, chandelier, lantern, book, barrel, bucket, sword, shield, hammer, gun, pistol,
rifle, shotgun, cannon, turret, catapult, elevator, chair, table, umbrella, balloon, ball, kite, swing, seesaw,
carousel, banana, avocado, pineapple, watermelon, pumpkin, machine, contraption, prop, object
"""
VERBS = """
walk; walk forward; walk backwards; walk to the left; walk in a circle; walk slowly; walk on tiptoe; walk like a
model; walk upstairs; stroll; stroll along; saunter; amble; wander around; roam; march; march in place; march on the
spot; strut; swagger; stride; pace back and forth; trudge; plod; limp; hobble; stagger; stumble; shuffle; shuffle
along; waddle; toddle; tiptoe; sneak; sneak forward; sneak up on someone; creep; creep along; prowl; stalk its prey;
skulk; crouch; crouch down; crouch and walk; duck; kneel; kneel down; squat; run; run fast; run slowly; run away; run
in place; run backwards; run to the right; run on the spot; jog; jog slowly; jog forward; sprint; dash; dash forward;
rush ahead; charge; charge forward; flee in panic; gallop; trot; canter; bound; skip; hop; hop in place; hop on one
leg; jump; jump up; jump forward; jump up and down; jump over an obstacle; jump for joy; leap; leap into the air;
pounce; pounce on its prey; lunge; lunge forward; vault over a wall; climb; climb up; climb a ladder; climb down;
crawl; crawl forward; crawl on all fours; crawl on the ground; slither; slither along; slide; slide to a stop; glide;
glide through the air; soar; fly; fly forward; fly around; fly in place; hover; hover in place; float; float in the
air; levitate; flap; flap the wings; flutter; beat the wings; take off; land; land on the ground; dive; dive down;
swoop down; swim; swim forward; swim fast; swim slowly; paddle; tread water; drift; drift in the water; sink; idle;
stand; stand still; stand idle; stand and breathe; stand up; stand on guard; stand on one leg; breathe; breathe
heavily; wait; wait patiently; rest; lie down; lie on the ground; lie on the back; sit; sit down; sit on a chair; sit
on the floor; sit up; get up; get up from the floor; sleep; doze off; wake up; yawn; stretch; stretch the arms;
stretch the legs; lean forward; bend over; bow; curtsy; wave; wave hello; wave goodbye; wave both arms; wave a hand;
raise a hand; raise both arms; point; point forward; point at something; beckon; salute; greet someone; shake hands;
clap; clap the hands; applaud; cheer; celebrate; celebrate a victory; pump a fist; give a thumbs up; nod; nod yes;
shake the head; shake its head no; look around; look left and right; look up; look behind; turn the head; turn left;
turn right; turn around; spin; spin around; spin in circles; rotate; twirl; pirouette; dance; dance happily; dance to
the music; breakdance; do the robot dance; dance the macarena; sway; sway from side to side; swing; swing back and
forth; rock back and forth; bob up and down; bounce; bounce up and down; wobble; jiggle; shake; shiver; shiver with
cold; tremble; twitch; wag its tail; swish its tail; scratch; scratch its ear; scratch its head; sniff the ground;
eat; eat grass; graze; graze in the field; drink; drink water; drink a potion; chew; peck; peck at the ground; peck
seeds; bite; bite forward; snap its jaws; chomp; attack; attack the enemy; attack with a sword; attack with both
claws; claw; claw at the enemy; swipe; slash; slash with a sword; swing a sword; swing an axe; stab; stab forward;
thrust a spear; chop; chop wood; punch; punch with the left hand; punch with the right fist; throw a punch; throw an
uppercut; jab; box; kick; kick forward; kick with the left leg; kick a ball; headbutt; ram; butt with its horns;
stomp; stomp the ground; slam the ground; smash; smash down; hit; hit someone; strike; strike like a snake; sting;
sting with its tail; whip its tail; spit; spit poison; breathe fire; spit fire; roar; roar loudly; growl; howl; howl
at the moon; bark; meow; neigh; hiss; chirp; crow; sing; talk; speak; shout; scream; laugh; cry; sob; weep; whistle;
call out; listen; listen closely; think; ponder; shrug; facepalm; cross the arms; put hands on hips; block; block an
attack; block with a shield; defend; guard; parry; dodge; dodge left; dodge to the right; dodge backwards; evade;
roll; roll forward; do a forward roll; do a somersault; do a backflip; do a cartwheel; do a handstand; do push-ups; do
sit-ups; do squats; do jumping jacks; lift weights; exercise; work out; stretch before a run; meditate; pray; worship;
perform yoga; cast a spell; cast a fireball; cast magic; summon a creature; summon minions; channel energy; power up;
charge up; shoot; shoot a gun; fire a rifle; fire an arrow; draw a bow; aim; aim a gun; aim a bow; reload; reload a
weapon; pump the shotgun; throw; throw a ball; throw a spear; throw a grenade; catch; catch a ball; pick up; pick up
an object; pick something up from the floor; carry a box; lift; lift a heavy box; push; push a crate; pull; pull a
lever; pull a rope; drag something; drop; hold; hold a weapon; open; open a door; open a chest; close; close slowly;
use an item; use a tool; interact; interact with something; press a button; operate a machine; work; hammer a nail;
dig; dig a hole; mine; fish; cook; sweep the floor; type on a keyboard; read a book; play the guitar; play the drums;
drive; drive forward; reverse; drive backwards; steer; take damage; get hit; get hit from behind; react to a hit;
flinch; recoil; recoil in pain; get knocked back; get stunned; feel dizzy; stagger back; fall; fall down; fall over;
fall backwards; fall through the air; trip; trip and fall; faint; collapse; collapse to the ground; die; die slowly;
fall down dead; lie dead; play dead; drop dead; rise from the ground; rise from the grave; come back to life;
transform; morph; emerge; spawn; appear from the ground; disappear; hide; hide in its shell; curl up; curl into a
ball; coil up; uncoil; rear up; rear up on its hind legs; raise its head; lower its head; spread its wings; fold its
wings; perch; preen its feathers; hunt; chase its tail; chase something; play; play around; fetch a stick; beg; taunt;
taunt the enemy; provoke; threaten; intimidate; show off; flex; flex the muscles; pose; strike a pose; rejoice; sulk;
panic; act angry; act confused; act sad; act tired; act scared; act drunk; act happy; get ready to fight; take a
fighting stance; catch its breath; pant; sneeze; cough; vomit; hiccup; melt; explode; inflate; deflate; squash and
stretch; puff up; pulse; blink; wiggle; wriggle; squirm; writhe; undulate; ripple; inch forward; scuttle; scurry;
skitter; rotate slowly; turn on; turn off; activate; start up; shut down; extend; retract; unfold; fold up; tilt;
vibrate; malfunction; short out; hang; hang upside down; hang from a branch; balance; balance on one foot; surf;
skate; ski; ride a horse; row a boat; mount up; dismount; embrace; hug; kiss; flirt; bump into a wall; lose balance
"""
ADVERBS = """
slowly, quickly, fast, very slowly, very fast, at full speed, leisurely, calmly, gently, softly, quietly, silently,
stealthily, cautiously, carefully, nervously, anxiously, fearfully, timidly, shyly, sadly, gloomily, wearily, tiredly,
sleepily, lazily, clumsily, awkwardly, stiffly, mechanically, robotically, smoothly, gracefully, elegantly, proudly,
confidently, boldly, bravely, heroically, aggressively, angrily, furiously, violently, fiercely, wildly, frantically,
hastily, hurriedly, energetically, vigorously, enthusiastically, excitedly, happily, cheerfully, joyfully, playfully,
goofily, drunkenly, heavily, lightly, powerfully, weakly, hesitantly, steadily, rhythmically, repeatedly, once, twice,
again and again, in place, on the spot, forward, backwards, sideways, to the left, to the right, upwards, downwards,
in a circle, in a loop, in slow motion, with a limp, with big steps, with small steps, with heavy steps, with long
strides, with its head down, with arms raised, with great effort, with a lot of energy, without moving from the spot,
like a zombie, like a robot, like a cat, like a soldier, like a ballerina, like a ninja, like a drunk, like a king,
like an old man, as if injured, as if exhausted, as if in a hurry, as if afraid, as if on ice, as if underwater, as if
carrying a heavy load, in an exaggerated cartoon style, in a realistic way, a little, a lot, suddenly, forever, while
looking around, while holding a weapon, while turning left, while wagging its tail, before an attack, after a long
run, in battle, at ease
"""
ADJECTIVES = """
big, small, tiny, huge, giant, large, little, tall, short, fat, thin, skinny, muscular, heavy, light, cute, ugly,
scary, funny, angry, happy, sad, tired, sleepy, lazy, nervous, scared, proud, brave, wounded, injured, drunk, old,
young, baby, adult, wild, tame, friendly, hostile, evil, magical, mechanical, robotic, rusty, wooden, stone, metal,
furry, fluffy, woolly, spotted, striped, scaly, spiky, slimy, long-legged, four-legged, six-legged, two-legged,
winged, horned, armoured, armored, hooded, masked, bearded, cartoon, low-poly, stylised, realistic, voxel,
cube-shaped, 3D, red, blue, green, yellow, black, white, brown, grey, orange, purple, pink, golden, undead,
prehistoric, mythical, alien, sci-fi, medieval
"""
CLOTHES = """
with a sword, with a shield, with a hat, with a pointed hat, with a cape, with a helmet, in armour, in a suit, in a
dress, in a space suit, with a backpack, with a gun, with a bow, with a staff, with a crown, with long hair, with a
beard, with large horns, with antlers, with big wings, with a long tail, with sharp teeth, with big ears, with long
legs, with one eye, with many arms, in dark clothes, in medieval clothes, with a hood
"""
NOUN_PHRASES = """
takes a leisurely stroll; goes for a walk; goes for a quick run; takes a step forward; takes a few steps back; takes a
nap; takes a bow; takes a break; takes a deep breath; takes a hit; takes a swing at the enemy; takes cover; takes
flight; takes aim; makes a big jump; makes a run for it; makes a sudden turn; makes an angry gesture; makes a
threatening move; has a seat; has a rest; has a look around; has a bite to eat; gives a wave; gives a friendly wave;
gives a nod; gives a roar; gives a kick; gives up; does a little dance; does a happy dance; does a flip; does a spin;
does a victory pose; does nothing; does its idle animation; lets out a roar; lets out a howl; is on the move; is in a
hurry; is at rest; is in flight; is in a good mood; is about to attack; is dying; is dead; is asleep; is alert; is
under attack; is hungry; is out of breath; is ready for battle; is scared to death; is full of joy; moves forward;
moves slowly ahead; moves at high speed; moves from side to side; moves its legs; moves its head; moves like a
machine; keeps walking; keeps running; keeps still; keeps watch; starts to run; starts walking; starts to dance; stops
moving; stops and looks around; breaks into a sprint; breaks into a dance; heads off at a brisk pace; makes its way
forward; goes down in agony; goes to sleep; goes up; goes berserk; comes to life; comes to a halt; loses its balance;
drops to its knees; drops to the ground; bursts open; swings shut; creaks open
"""
NOUN_CAPTIONS = """
walk cycle; run cycle; idle animation; idle loop; attack animation; death animation; jump animation; hit reaction;
swim cycle; flight cycle; flying loop; sword attack; melee attack; ranged attack; magic attack; bite attack; tail
attack; claw attack; combo attack; heavy attack; light attack; dodge roll; combat idle; breathing idle; sneak walk;
stealth walk; stealthy walk; crouch walk; zombie walk; injured walk; drunk walk; happy walk; sad walk; old man walk;
moonwalk; catwalk; slow walk; fast walk; brisk walk; walk loop; walk in place; slow jog; light jog; fast run; sprint
cycle; gallop cycle; trot cycle; long jump; high jump; double jump; jump start; jump landing; falling idle; victory
dance; hip hop dance; belly dance; salsa; ballet; backflip; front flip; roundhouse kick; flying kick; uppercut; left
hook; punch combo; headbutt; taunt; emote; greeting; goodbye; farewell; hand wave; head nod; head shake; thumbs up;
sleeping; sitting idle; eating animation; feeding; drinking; grazing; takeoff; landing; hovering; gliding; diving;
spell casting; reload; shooting; aiming; blocking; parry; stun; knockback; knockdown; get up; death fall;
resurrection; spawn; open animation; closing animation; door opening; rotation loop; spinning loop; swaying in the
wind; locomotion; movement; gesture; reaction; celebration; meditation; push-ups; exercise
"""

_IRREGULAR = {
    "be": ("is", "being"),
    "do": ("does", "doing"),
    "have": ("has", "having"),
    "lie": ("lies", "lying"),
    "die": ("dies", "dying"),
}
_DOUBLED = {
    "run",
    "sit",
    "hop",
    "jog",
    "trot",
    "skip",
    "stab",
    "jab",
    "chop",
    "hit",
    "swim",
    "spin",
    "nod",
    "clap",
    "flap",
    "bob",
    "hug",
    "dig",
    "beg",
    "trip",
    "get",
    "put",
    "drop",
    "drag",
    "ram",
    "snap",
    "sob",
    "shut",
    "squat",
    "step",
    "wag",
    "slam",
    "spit",
    "cut",
    "let",
    "swat",
    "flip",
    "pat",
    "tap",
    "bat",
    "fan",
    "flop",
    "grab",
    "jet",
    "plod",
    "pop",
    "shrug",
    "side-step",
    "stir",
    "strut",
    "swap",
    "whip",
    "yap",
}
_UNDOUBLED_E = {"see", "flee", "agree", "disagree", "tiptoe", "free"}


def third_person(verb: str) -> str:
    """``walk`` → ``walks``."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb][0]
    if verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + "s"


def participle(verb: str) -> str:
    """``walk`` → ``walking``."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb][1]
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("e") and verb not in _UNDOUBLED_E:
        return verb[:-1] + "ing"
    return verb + "ing"


def _list(text: str, separator: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split(separator)]


_CREATURES, _PEOPLE, _OBJECTS = (_list(text, ",") for text in (CREATURES, PEOPLE, OBJECTS))
_VERBS, _PHRASES, _CAPTIONS = (_list(text, ";") for text in (VERBS, NOUN_PHRASES, NOUN_CAPTIONS))
_ADVERBS, _ADJECTIVES, _CLOTHES = (_list(text, ",") for text in (ADVERBS, ADJECTIVES, CLOTHES))
_FIXED_SUBJECTS = {"it", "he", "she", "someone", "everyone", "the boss", "our hero"}


def _inflected(phrase: str, how: Callable[[str], str]) -> str:
    verb, _, rest = phrase.partition(" ")
    return f"{how(verb)} {rest}".strip()


class PromptGrammar:
    """Draws prompts; the same seed gives the same prompts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def noun(self) -> str:
        """``small fox``, ``knight with a sword``."""
        kind = self._random.random()
        noun = self._random.choice(_CREATURES if kind < 0.55 else _PEOPLE if kind < 0.85 else _OBJECTS)
        if noun in _FIXED_SUBJECTS:
            return noun
        if self._random.random() < 0.3:
            noun = f"{self._random.choice(_ADJECTIVES)} {noun}"
        if self._random.random() < 0.1:
            noun = f"{noun} {self._random.choice(_CLOTHES)}"
        return noun

    def subject(self) -> str:
        """``the small fox``, ``a knight with a sword``."""
        noun = self.noun()
        if noun in _FIXED_SUBJECTS:
            return noun
        article = "an" if noun[0] in "aeio" else "a"
        return f"{self._random.choice(['the', 'the', article, article, 'this', 'my'])} {noun}"

    def action(self) -> str:
        """A verb phrase in its base form, often with an adverb."""
        phrase = self._random.choice(_VERBS)
        if self._random.random() < 0.4:
            phrase = f"{phrase} {self._random.choice(_ADVERBS)}"
        return phrase

    def prompt(self) -> str:
        """One prompt."""
        pick = self._random.random()
        verb = self.action()
        doing, does = _inflected(verb, participle), _inflected(verb, third_person)
        if pick < 0.22:
            return f"{self.subject()} {does}"
        if pick < 0.36:
            return f"{self.subject()} is {doing}"
        if pick < 0.46:
            return f"{self.subject()} {doing}"
        if pick < 0.53:
            return f"{self.noun()} {doing}"
        if pick < 0.59:
            return verb
        if pick < 0.64:
            return doing
        if pick < 0.74:
            tail = f" {self._random.choice(_ADVERBS)}" if self._random.random() < 0.2 else ""
            return f"{self.subject()} {self._random.choice(_PHRASES)}{tail}"
        if pick < 0.80:
            return self._frame(verb, doing)
        if pick < 0.87:
            caption = self._random.choice(_CAPTIONS)
            return self._random.choice(
                [
                    caption,
                    f"{self.noun()} {caption}",
                    f"{caption} of {self.subject()}",
                    f"{self._random.choice(_ADJECTIVES)} {caption}",
                ]
            )
        if pick < 0.95:
            return self._sequence(does)
        adverb = self._random.choice(_ADVERBS)
        return f"{adverb}, {self.subject()} {does}"

    def _frame(self, verb: str, doing: str) -> str:
        subject, noun = self.subject(), self.noun()
        frames = [
            f"animate {subject} {doing}",
            f"make {subject} {verb}",
            f"make it {verb}",
            f"show {subject} {doing}",
            f"i want {subject} to {verb}",
            f"please {verb}",
            f"{subject} tries to {verb}",
            f"{subject} begins to {verb}",
            f"an animation of {subject} {doing}",
            f"a {noun} that can {verb}",
            f"loop of {subject} {doing}",
            f"{noun}: {verb}",
            f"have {subject} {verb}",
            f"let {subject} {verb}",
            f"game animation, {noun} {doing}",
            f"{subject} should {verb}",
            f"can you make {subject} {verb}?",
            f"{subject} gets ready to {verb}",
            f"{verb} cycle",
            f"{verb} animation",
        ]
        return self._random.choice(frames)

    def _sequence(self, does: str) -> str:
        then = self.action()
        again, doing = _inflected(then, third_person), _inflected(then, participle)
        joined = [
            f"{does}, then {again}",
            f"{does} and {again}",
            f"{does} while {doing}",
            f"{does} before {doing}",
            f"{does}, {again} and stops",
        ]
        return f"{self.subject()} {self._random.choice(joined)}"
