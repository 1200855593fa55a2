"""All kinds of rigs."""

from __future__ import annotations

from animax.procedural.biped import design_biped
from animax.procedural.chest import design_chest
from animax.procedural.design import Designer
from animax.procedural.quadruped import design_quadruped
from animax.procedural.snake import design_snake

DESIGNERS: dict[str, Designer] = {
    "biped": design_biped,
    "quadruped": design_quadruped,
    "snake": design_snake,
    "chest": design_chest,
}
