"""How many pages of KV fit beside the weights: a paper's own number where it states one, else arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from systems.core.cost import tables
from systems.core.cost.gpu import GIB, Gpu, gpu, gpus
from systems.core.cost.shape import ModelShape
from systems.core.errors import UsageError

RESERVE = 0.01  # of the memory, for activations: FastServe's own formula


@dataclass(frozen=True, slots=True)
class Capacity:
    """`pages` of `page_tokens` tokens each, in one replica, and where the number is from."""

    pages: int
    page_tokens: int
    source: str

    @property
    def tokens(self) -> int:
        """In all pages."""
        return self.pages * self.page_tokens


@dataclass(frozen=True, slots=True)
class Split:
    """A replica over tp x pp GPUs that may use a share `utilisation` of each memory."""

    tp: int = 1
    pp: int = 1
    utilisation: float = 0.9


def capacity(shape: ModelShape, on: Gpu, split: Split, page_tokens: int = 16, stated_by: str = "") -> Capacity:
    """The KV pages of one replica; `stated_by` names whose published numbers win. Raises UsageError when none fits."""
    if not 0 < split.utilisation <= 1 or page_tokens < 1:
        raise UsageError(
            f"Pages of {page_tokens} tokens in a share {split.utilisation:g} of the memory make no sense.",
            "Give a utilisation above 0 and up to 1, and pages of at least one token.",
        )
    for row in tables.read("capacities"):
        if (row["by"], row["model"], row["gpu"], row["tp"], 1) == (stated_by, shape.name, on.name, split.tp, split.pp):
            return Capacity(row["tokens"] // page_tokens, page_tokens, row["source"])
    pages = int(_free(shape, on, split) // _page_bytes(shape, split, page_tokens))
    if pages < 1:
        raise _does_not_fit(shape, on, split, page_tokens)
    reserve = f"{split.utilisation:g} of {on.memory / GIB:g} GiB, less weights and {RESERVE:g} of the memory"
    return Capacity(pages, page_tokens, reserve)


def _free(shape: ModelShape, on: Gpu, split: Split) -> float:
    """Bytes that are left for KV on each GPU; negative when the weights do not fit."""
    return on.memory * (split.utilisation - RESERVE) - shape.weight_bytes / (split.tp * split.pp)


def _page_bytes(shape: ModelShape, split: Split, page_tokens: int) -> float:
    """Of one page on each GPU: stages share the layers."""
    return page_tokens * shape.kv_bytes_token_shard(split.tp) / split.pp


def _does_not_fit(shape: ModelShape, on: Gpu, split: Split, page_tokens: int) -> UsageError:
    short = _page_bytes(shape, split, page_tokens) - _free(shape, on, split)
    weights = shape.weight_bytes / (split.tp * split.pp) / GIB
    what = (
        f"{shape.name} does not fit on {on.name} with tp {split.tp} and pp {split.pp}: each GPU is {short / GIB:.1f} GiB "
        f"short ({weights:.1f} GiB of weights, {on.memory * (split.utilisation - RESERVE) / GIB:.1f} GiB usable)."
    )
    ways = _ways(shape, on, split, page_tokens)
    return UsageError(what, f"It fits {', or '.join(ways)}." if ways else "No GPU that is known holds it so.")


def _ways(shape: ModelShape, on: Gpu, split: Split, page_tokens: int) -> list[str]:
    """What would fit: the smallest tp, the smallest pp, or other GPUs."""

    def fits(where: Gpu, tp: int, pp: int) -> bool:
        other = Split(tp, pp, split.utilisation)
        return _free(shape, where, other) >= _page_bytes(shape, other, page_tokens)

    tps = [tp for tp in (2, 4, 8) if tp > split.tp and shape.heads % tp == 0 and fits(on, tp, split.pp)]
    pps = [pp for pp in (2, 4, 8, 16) if split.pp < pp <= shape.layers and fits(on, split.tp, pp)]
    larger = [name for name in gpus() if fits(gpu(name), split.tp, split.pp)]
    ways = [f"with tp {tps[0]}"] if tps else []
    ways += [f"with pp {pps[0]}"] if pps else []
    return ways + ([f"as it is on {', '.join(larger)}"] if larger else [])
