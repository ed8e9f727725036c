"""How KV memory is laid out: groups of layers that share a block table, cut into pages of one byte arena.

A page is block-major, `[layer, k/v, head, token, dim]`: one copy moves the tokens of a page for every
layer of its group (the page-layer layout of Jenga, section 5.2; a model with one group is the simple case).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Layers of one type of one model: same shape, same dependency rule, one block table.

    `itemsize` is bytes per number. Page bytes = layers x 2 x kv_heads x page_tokens x head_dim x itemsize.
    """

    name: str
    layers: tuple[int, ...]
    kv_heads: int
    head_dim: int
    page_tokens: int
    itemsize: int
    model: str = ""
    window: int | None = None

    @property
    def layer_bytes(self) -> int:
        """Stride between two layers of a page, in bytes (keys, then values)."""
        return 2 * self.kv_heads * self.page_tokens * self.head_dim * self.itemsize

    @property
    def page_bytes(self) -> int:
        """Bytes of one page: `page_tokens` tokens in all layers of the group."""
        return len(self.layers) * self.layer_bytes

    @property
    def token_bytes(self) -> int:
        """Bytes of one token in all layers of the group."""
        return self.page_bytes // self.page_tokens

    def layer_offset(self, layer: int) -> int:
        """Where layer number `layer` (of the model) starts inside a page, in bytes."""
        return self.layers.index(layer) * self.layer_bytes


@dataclass(frozen=True, slots=True)
class KVLayout:
    """The groups of one instance's arena."""

    groups: tuple[Group, ...]

    @property
    def token_bytes(self) -> int:
        """Bytes that one token takes over all groups."""
        return sum(group.token_bytes for group in self.groups)
