"""Every supported family gives the library's own greedy tokens, through its modules and through a short path if any."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from systems.core.config import EngineConfig
from systems.core.errors import UsageError
from systems.core.request import Request, Sampling
from systems.core.torch.compute import TorchCompute
from systems.core.torch.shape import FAMILIES
from tests.core.torch.torch_driver import Driver

BASE = {
    "vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 11},
    "qwen2": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    "qwen3": {"head_dim": 24},
    "gemma2": {"head_dim": 16, "sliding_window": 13, "query_pre_attn_scalar": 16},
    "gemma3_text": {"head_dim": 16, "sliding_window": 7, "query_pre_attn_scalar": 16},
}
FAST = {"opt", "llama", "mistral", "qwen2"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small checkpoint per family that has no recipe."""
    root = tmp_path_factory.mktemp("families")
    for name, more in CONFIGS.items():
        settings = transformers.AutoConfig.for_model(name, **BASE, **more)
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(settings)
        for key, weights in model.named_parameters():
            if weights.ndim > 1 or key.endswith("bias"):
                weights.data.normal_(0.0, 0.2)
        model.save_pretrained(root / name)
    return root


def test_all_families_are_tested() -> None:
    assert set(CONFIGS) | {"opt", "llama"} == set(FAMILIES)


@pytest.mark.parametrize("name", CONFIGS)
def test_family(made: Path, name: str) -> None:
    draw = random.Random(3)
    prompts = [tuple(draw.randrange(3, 256) for _ in range(length)) for length in (4, 18, 33)]
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(made / name, attn_implementation="eager")
    want = {}
    for number, prompt in enumerate(prompts):
        answer = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=-1)
        want[number] = answer[0, len(prompt) :].tolist()
    assert len({tuple(tokens) for tokens in want.values()}) == len(prompts)
    for fast in {False, name in FAST}:
        engine = TorchCompute.load(EngineConfig(str(made / name), max_batch=4, device_pages=32, fast_path=fast))
        assert engine.path.name == (f"fast {name}" if fast else "modules")
        requests = [Request(i, prompt, Sampling(max_tokens=12)) for i, prompt in enumerate(prompts)]
        assert Driver(engine, chunk=10, trouble=0.1, seed=4).run(requests) == want


def test_an_unsupported_family_is_named_with_the_supported_ones(tmp_path: Path) -> None:
    transformers.GPT2Config(n_layer=1).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"'gpt2'.*opt, llama, mistral"):
        TorchCompute.load(EngineConfig(str(tmp_path)))


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        TorchCompute.load(EngineConfig(str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "something-new"}')
    with pytest.raises(UsageError, match="Supported families"):
        TorchCompute.load(EngineConfig(str(tmp_path)))


def test_dummy_weights_need_only_a_configuration(tmp_path: Path, checkpoints: Path) -> None:
    (tmp_path / "config.json").write_text((checkpoints / "t-llama" / "config.json").read_text())
    engine = TorchCompute.load(EngineConfig(str(tmp_path), dummy_weights=True, max_batch=2, device_pages=8))
    out = Driver(engine, chunk=10).run([Request(0, (5, 6, 7), Sampling(max_tokens=6))])
    assert len(out[0]) == 6
