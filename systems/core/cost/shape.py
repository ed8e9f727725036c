"""The shape of a dense model: what its weights and its KV cost."""

from __future__ import annotations

from dataclasses import dataclass

from systems.core.cost import tables

FP16 = 2  # bytes


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder in fp16. `params` is a count; `inter` the width of the MLP; `windowed` layers keep `window` tokens."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inter: int
    vocab: int
    gated: bool
    tied: bool
    params: int
    window: int = 0
    windowed: int = 0

    @property
    def weight_bytes(self) -> int:
        """Of the whole model."""
        return FP16 * self.params

    @property
    def kv_bytes_token(self) -> int:
        """Keys and values of one token in all layers, windows ignored."""
        return 2 * FP16 * self.layers * self.kv_heads * self.head_dim

    def kv_bytes_token_shard(self, tp: int) -> int:
        """Of one token on one of `tp` GPUs: with fewer KV heads than GPUs, each holds a copy of one head."""
        return 2 * FP16 * self.layers * max(1, -(-self.kv_heads // tp)) * self.head_dim


def shape(name: str) -> ModelShape:
    """The model `name` of models.yaml. Raises UsageError."""
    known = tables.full_name("models", "model", name)
    row = tables.row("models", known)
    return ModelShape(name=known, **{**row, "params": round(row["params"] * 1e9)})


def models() -> tuple[str, ...]:
    """Every model by name."""
    return tables.names("models")
