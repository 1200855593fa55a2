"""All kinds of rigs."""

from __future__ import annotations

from animax.procedural.arthropod import design_beetle, design_spider
from animax.procedural.biped import design_biped
from animax.procedural.bird import design_bird
from animax.procedural.chest import design_chest
from animax.procedural.design import Designer
from animax.procedural.fish import design_fish
from animax.procedural.quadruped import design_quadruped
from animax.procedural.robot_arm import design_robot_arm
from animax.procedural.snake import design_snake

DESIGNERS: dict[str, Designer] = {
    "biped": design_biped,
    "quadruped": design_quadruped,
    "bird": design_bird,
    "spider": design_spider,
    "beetle": design_beetle,
    "snake": design_snake,
    "fish": design_fish,
    "chest": design_chest,
    "robot_arm": design_robot_arm,
}
