"""What of a Hugging Face configuration the engine needs, and which families it has been checked with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from systems.core.errors import UsageError
from systems.core.memory.layout import Group, KVLayout

if TYPE_CHECKING:
    from systems.core.config import EngineConfig

FAMILIES = ("opt", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one model: counts of layers, heads and tokens; `head_dim` numbers a head."""

    family: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    positions: int
    eos: tuple[int, ...]

    def layout(self, config: EngineConfig) -> KVLayout:
        """One group: every layer of the model, all with the same block table."""
        itemsize = 4 if config.dtype == "float32" else 2
        group = Group(
            name="full",
            layers=tuple(range(self.layers)),
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            page_tokens=config.page_tokens,
            itemsize=itemsize,
            model=config.model,
        )
        return KVLayout((group,))


def read_config(directory: str) -> Any:
    """The Hugging Face configuration in `directory`.

    Raises UsageError when there is none, or when its family is not one of `FAMILIES`.
    """
    from transformers import AutoConfig

    if not (Path(directory) / "config.json").is_file():
        raise UsageError(f"{directory} holds no config.json.", "Give the directory of a Hugging Face checkpoint.")
    try:
        settings = AutoConfig.from_pretrained(directory, local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{directory}/config.json cannot be read: {reason}", supported()) from error
    if settings.model_type not in FAMILIES:
        raise UsageError(f"Models of the family {settings.model_type!r} are not supported.", supported())
    return settings


def read_shape(settings: Any, directory: str) -> Shape:
    """The sizes in `settings`; end-of-sequence ids also come from generation_config.json, as `generate` has it."""
    heads = settings.num_attention_heads
    return Shape(
        family=settings.model_type,
        layers=settings.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(settings, "num_key_value_heads", None) or heads,
        head_dim=getattr(settings, "head_dim", None) or settings.hidden_size // heads,
        vocab=settings.vocab_size,
        positions=settings.max_position_embeddings,
        eos=_end_ids(settings, directory),
    )


def _end_ids(settings: Any, directory: str) -> tuple[int, ...]:
    from transformers import GenerationConfig

    ids = settings.eos_token_id
    if (Path(directory) / "generation_config.json").is_file():
        ids = GenerationConfig.from_pretrained(directory, local_files_only=True).eos_token_id or ids
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else tuple(ids)


def supported() -> str:
    """The families, in a sentence."""
    return f"Supported families: {', '.join(FAMILIES)}."
