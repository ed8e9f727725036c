"""Any supported `transformers` model as it is, fed one flattened row, with its attention in our paged memory.

No model code of ours: the library's own modules compute everything but attention, which it hands over through its
`AttentionInterface` together with the layer's scale, window and softcap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AutoModelForCausalLM

from systems.core.torch.arena import DTYPES
from systems.core.torch.linear import pack_linears, warm
from systems.core.torch.model import Model
from systems.core.torch.shape import read_config, read_shape

if TYPE_CHECKING:
    from systems.core.config import EngineConfig
    from systems.core.torch.attention import Paged
    from systems.core.torch.batch import Rows

NAME = "ae_paged"


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    paged: Paged,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The library's interface: [1, heads, rows, dim] in, [1, rows, heads, dim] out."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    out = paged.attend(module.layer_idx, q, k, v, scale, sliding_window or 0, softcap or 0.0)
    return out.unsqueeze(0), None


AttentionInterface.register(NAME, _attention)


def modules_model(config: EngineConfig) -> Model:
    """The model of `config` run by the library's modules. Raises UsageError when it is of no supported family."""
    model = load_model(config)
    return Model(
        read_shape(model.config, config.model),
        sum(p.nbytes for p in model.parameters()),
        lambda paged: ModulesPath(model, paged, config.device),
    )


def load_model(config: EngineConfig) -> Any:
    """The model in evaluation mode on its device, weights from the checkpoint or made up (`dummy_weights`).

    Raises UsageError when it is of no supported family.
    """
    from transformers.utils import logging

    settings = read_config(config.model)

    logging.disable_progress_bar()
    dtype = DTYPES[config.dtype]
    model: Any
    if config.dummy_weights:
        torch.manual_seed(config.seed)
        with torch.device(config.device):
            model = AutoModelForCausalLM.from_config(settings, dtype=dtype, attn_implementation=NAME)
    else:
        model = AutoModelForCausalLM.from_pretrained(
            config.model, dtype=dtype, attn_implementation=NAME, local_files_only=True
        )
        model = model.to(torch.device(config.device))
    return model.eval().requires_grad_(requires_grad=False)


class ModulesPath:
    """Runs the library's modules."""

    name = "modules"

    def __init__(self, model: Any, paged: Paged, device: str) -> None:
        self.model, self.paged, self.device = model, paged, device
        self.products = pack_linears(model) if device == "cpu" else []

    def forward(self, rows: Rows) -> torch.Tensor:
        """Logits [E, vocabulary] of the rows that emit; the head is computed for no other row."""
        self.paged.begin(rows)
        emit = slice(None) if rows.emit is None else torch.from_numpy(rows.emit).to(self.device)
        if rows.emit is not None and rows.emit.size == 0:
            emit = torch.zeros(1, dtype=torch.int64, device=self.device)
        out = self.model(
            input_ids=torch.from_numpy(rows.tokens).to(self.device).unsqueeze(0),
            position_ids=torch.from_numpy(rows.positions).to(self.device).unsqueeze(0),
            use_cache=False,
            logits_to_keep=0 if isinstance(emit, slice) else emit,
            paged=self.paged,
        )
        logits: torch.Tensor = out.logits[0]
        return logits if rows.requests else logits[:0]

    def warm(self, rows: int) -> None:
        """Compile every product for `rows` rows."""
        warm([(product, False) for product in self.products], rows)
