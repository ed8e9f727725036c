"""Tiny checkpoints in the standard layout, made from a recipe: other engines load them too.

`python -m systems.core.torch.checkpoint NAME DIRECTORY` makes one by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from systems.core.errors import UsageError
from systems.core.torch.recipes import RECIPES, Recipe

MARK = "ae_recipe"


def ensure(name: str, root: Path) -> Path:
    """The directory of checkpoint `name` below `root`, made if it is not there. Raises UsageError."""
    directory = root / name
    make_tiny(name, directory)
    return directory


def make_tiny(name: str, directory: Path) -> None:
    """Write checkpoint `name` to `directory`, whole or not at all; nothing is done if it is already there.

    Raises UsageError for an unknown name, and for a directory that holds something else.
    """
    if name not in RECIPES:
        raise UsageError(f"There is no tiny checkpoint called {name!r}.", f"Known: {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    if directory.exists():
        if _mark(directory) == recipe.digest():
            return
        _discard(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=directory.parent))
    try:
        _write(recipe, scratch)
        scratch.chmod(0o755)
        _install(scratch, directory, recipe)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _install(scratch: Path, directory: Path, recipe: Recipe) -> None:
    try:
        scratch.rename(directory)
    except OSError:  # another process was faster; what it made is the same
        if _mark(directory) != recipe.digest():
            raise


def _mark(directory: Path) -> str | None:
    """The recipe that made `directory`; None when it is not one of ours."""
    try:
        mark = json.loads((directory / "config.json").read_text(encoding="utf-8")).get(MARK)
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, str) else None


def _discard(directory: Path) -> None:
    """Remove a checkpoint of an older recipe; refuse to touch anything else."""
    if _mark(directory) is None and any(directory.iterdir()):
        raise UsageError(f"{directory} exists and holds no tiny checkpoint of ours.", "Name another directory.")
    old = Path(tempfile.mkdtemp(prefix=".old-", dir=directory.parent))
    try:
        directory.replace(old / "checkpoint")
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _write(recipe: Recipe, directory: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    from systems.core.torch.tokenizer import BOS_ID, EOS_ID, PAD_ID, train

    logging.disable_progress_bar()
    config = _config(recipe)
    setattr(config, MARK, recipe.digest())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if weights.ndim > 1 or name.endswith("bias"):
                    weights.normal_(0.0, recipe.std)
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=PAD_ID)
    model.save_pretrained(directory)
    train(recipe.vocab).save_pretrained(directory)
    _name_tokenizer_class(directory / "tokenizer_config.json")
    for file in directory.iterdir():
        file.chmod(0o644)


def _name_tokenizer_class(path: Path) -> None:
    """Name the class as every release of transformers knows it; 5.x writes a name that 4.x cannot load."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["model_max_length"] = 4096
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _config(recipe: Recipe) -> Any:
    from transformers import LlamaConfig, OPTConfig

    from systems.core.torch.tokenizer import BOS_ID, EOS_ID, PAD_ID

    shared: dict[str, Any] = {
        "vocab_size": recipe.vocab,
        "hidden_size": recipe.hidden,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "max_position_embeddings": recipe.positions,
        "tie_word_embeddings": recipe.tied,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
    }
    if recipe.family == "opt":
        return OPTConfig(ffn_dim=recipe.inner, word_embed_proj_dim=recipe.hidden, dropout=0.0, **shared)
    return LlamaConfig(intermediate_size=recipe.inner, num_key_value_heads=recipe.kv_heads, **shared)


def main(arguments: list[str]) -> None:
    """Make the checkpoint named first in the directory named second. Raises UsageError."""
    if len(arguments) != 2:
        raise UsageError("A name and a directory are needed.", f"Names: {', '.join(RECIPES)}.")
    make_tiny(arguments[0], Path(arguments[1]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
