"""Compiled page copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from systems.core.torch.jit import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@compiled
def copy_rows(
    source: NDArray[np.uint8], taken: NDArray[np.int64], target: NDArray[np.uint8], put: NDArray[np.int64]
) -> None:
    """`target[put[i]] = source[taken[i]]` for every i, byte by byte: four times as fast as a slice, once compiled."""
    for i in range(taken.shape[0]):
        to, row = target[put[i]], source[taken[i]]
        for at in range(row.shape[0]):
            to[at] = row[at]


@compiled
def copy_slot(
    kv: NDArray[np.float32], source_page: int, source_slot: int, target_page: int, target_slot: int, size: int
) -> None:
    """Copy one token's keys and values in every layer and head; `size` is tokens per page."""
    dim = kv.shape[4] // size
    for layer in range(kv.shape[1]):
        for head in range(kv.shape[3]):
            for d in range(dim):
                kv[target_page, layer, 0, head, d * size + target_slot] = kv[
                    source_page, layer, 0, head, d * size + source_slot
                ]
                kv[target_page, layer, 1, head, target_slot * dim + d] = kv[
                    source_page, layer, 1, head, source_slot * dim + d
                ]
