from __future__ import annotations

import pytest

from systems.core.memory.layout import Group, KVLayout

OPT_13B = Group("all", tuple(range(40)), kv_heads=40, head_dim=128, page_tokens=16, itemsize=2)
LLAMA3_8B = Group("all", tuple(range(32)), kv_heads=8, head_dim=128, page_tokens=16, itemsize=2)


@pytest.mark.parametrize(("group", "token"), [(OPT_13B, 819_200), (LLAMA3_8B, 131_072)])
def test_bytes_of_a_token_are_those_of_the_published_models(group: Group, token: int) -> None:
    """Grouped queries count: Llama-3-8B has 8 KV heads for 32 query heads."""
    assert group.token_bytes == token
    assert group.page_bytes == 16 * token
    assert KVLayout((group,)).token_bytes == token


def test_layers_of_a_page_lie_side_by_side_without_gap_or_overlap() -> None:
    group = Group("window", (1, 3, 5), kv_heads=2, head_dim=8, page_tokens=4, itemsize=4)
    assert group.layer_bytes == 2 * 2 * 8 * 4 * 4
    assert [group.layer_offset(layer) for layer in group.layers] == [0, group.layer_bytes, 2 * group.layer_bytes]
    assert group.page_bytes == 3 * group.layer_bytes


def test_a_token_takes_room_in_every_group() -> None:
    """Gemma-3 27B: 52 window and 10 full layers (Jenga, Table 1)."""
    full, window = (Group(n, tuple(range(k)), 16, 128, 16, 2) for n, k in (("full", 10), ("window", 52)))
    assert KVLayout((full, window)).token_bytes == full.token_bytes + window.token_bytes == 62 * 2 * 16 * 128 * 2
