"""The tiny checkpoints that can be made here: plain data, so that a list of names costs no import of torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model made from a seed. `std` is the standard deviation of the weights.

    The usual 0.02 makes a tied tiny model repeat one token, and parity on that proves nothing.
    """

    name: str
    family: Literal["opt", "llama"]
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    inner: int
    vocab: int = 512
    positions: int = 4096
    std: float = 0.15
    tied: bool = False
    seed: int = 2024

    def digest(self) -> str:
        """Eight hex digits that change with the recipe."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("t-opt", "opt", layers=4, hidden=128, heads=4, kv_heads=4, inner=512, tied=True),
        Recipe("t-llama", "llama", layers=4, hidden=128, heads=8, kv_heads=2, inner=352),
        Recipe("t-opt-smoke", "opt", layers=4, hidden=256, heads=8, kv_heads=8, inner=1024, tied=True),
        Recipe("t-llama-smoke", "llama", layers=4, hidden=256, heads=8, kv_heads=2, inner=704),
        Recipe("bench-llama", "llama", layers=4, hidden=256, heads=8, kv_heads=4, inner=704),
    )
}
