"""The short paths read configurations as the library does, and leave to the library whatever is unusual."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from systems.core.config import EngineConfig
from systems.core.errors import UsageError
from systems.core.torch.compute import TorchCompute
from systems.core.torch.fast import short_model
from systems.core.torch.fast_llama import frequencies
from systems.core.torch.hf_config import LlamaSettings, OptSettings, read_raw, settings_of
from systems.core.torch.hf_weights import read_weights
from systems.core.torch.shape import read_shape

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
COVERED: list[dict[str, Any]] = [
    {"model_type": "llama"},
    {"model_type": "llama", "num_key_value_heads": None, "head_dim": 96, "eos_token_id": [5, 6], "rms_norm_eps": 1e-5},
    {"model_type": "llama", "rope_theta": 5e5, "attention_bias": True, "tie_word_embeddings": True},
    {"model_type": "llama", "rope_theta": 5e5, "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 512}},
    {"model_type": "llama", "rope_parameters": LLAMA3 | {"rope_theta": 3e4}},
    {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 2e4},
    {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "eos_token_id": None},
    {"model_type": "mistral"},
    {"model_type": "mistral", "sliding_window": None, "head_dim": 64, "num_key_value_heads": 4},
    {"model_type": "qwen2"},
    {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 3, "num_hidden_layers": 5},
    {
        "model_type": "qwen2", "use_sliding_window": True, "num_hidden_layers": 2, "sliding_window": 7,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    {"model_type": "opt"},
    {"model_type": "opt", "enable_bias": False, "tie_word_embeddings": False, "hidden_size": 96, "ffn_dim": 100},
]  # fmt: skip
UNUSUAL: list[dict[str, Any]] = [
    {"model_type": "llama", "hidden_act": "gelu"},
    {"model_type": "llama", "mlp_bias": True},
    {"model_type": "llama", "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    {"model_type": "llama", "rope_scaling": {"rope_type": "linear"}},
    {"model_type": "llama", "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
    {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}},
    {"model_type": "llama", "num_attention_heads": 7},
    {"model_type": "llama", "hidden_size": "many"},
    {"model_type": "llama", "eos_token_id": "</s>"},
    {"model_type": "qwen2", "use_sliding_window": True, "layer_types": ["sliding_attention"]},
    {"model_type": "qwen3"},
    {"model_type": "opt", "do_layer_norm_before": False},
    {"model_type": "opt", "_remove_final_layer_norm": True},
    {"model_type": "opt", "word_embed_proj_dim": 512},
    {"model_type": "opt", "activation_function": "gelu"},
]


def label(raw: dict[str, Any]) -> str:
    return " ".join(str(value) for value in raw.values())[:60]


def written(raw: dict[str, Any], directory: Path) -> str:
    (directory / "config.json").write_text(json.dumps(raw))
    return str(directory)


@pytest.mark.parametrize("raw", COVERED, ids=label)
def test_every_field_is_the_librarys(raw: dict[str, Any], tmp_path: Path) -> None:
    ours = settings_of(read_raw(written(raw, tmp_path)), str(tmp_path))
    library = transformers.AutoConfig.from_pretrained(tmp_path)
    assert ours is not None
    assert ours.shape == read_shape(library, str(tmp_path))
    assert (ours.hidden, ours.tied) == (library.hidden_size, library.tie_word_embeddings)
    if isinstance(ours, OptSettings):
        assert (ours.inner, ours.bias) == (library.ffn_dim, library.enable_bias)
        return
    assert (ours.inner, ours.eps) == (library.intermediate_size, library.rms_norm_eps)


@pytest.mark.parametrize("raw", COVERED, ids=label)
def test_windows_biases_and_rotation_are_those_of_the_modules(raw: dict[str, Any], tmp_path: Path) -> None:
    """On the library's own modules, with every size but the head's made small."""
    small = {"hidden_size": 64, "intermediate_size": 8, "ffn_dim": 8, "vocab_size": 16, "num_attention_heads": 4}
    raw = {"num_hidden_layers": 4, "num_key_value_heads": 2, "pad_token_id": 0} | raw | small
    ours = settings_of(read_raw(written(raw, tmp_path)), str(tmp_path))
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    with torch.device("meta"):
        model: Any = transformers.AutoModelForCausalLM.from_config(config)
    if isinstance(ours, OptSettings):
        layer = model.model.decoder.layers[0]
        assert all((part.bias is not None) is ours.bias for part in (layer.self_attn.q_proj, layer.fc1, layer.fc2))
        assert ours.shape.head_dim**-0.5 == layer.self_attn.scaling
        return
    assert isinstance(ours, LlamaSettings)
    for layer, window in zip(model.model.layers, ours.windows, strict=True):
        mixer = layer.self_attn
        given = getattr(mixer, "sliding_window", getattr(config, "sliding_window", None))
        assert (given or 0) == window
        assert (mixer.q_proj.bias is not None, mixer.o_proj.bias is not None) == (ours.qkv_bias, ours.out_bias)
        assert ours.shape.head_dim**-0.5 == mixer.scaling
        assert layer.mlp.up_proj.bias is None
    rotary = type(model.model.rotary_emb)(config)
    assert torch.equal(frequencies(ours.rope, ours.shape.head_dim), rotary.inv_freq)
    assert rotary.attention_scaling == 1.0


@pytest.mark.parametrize("raw", UNUSUAL, ids=label)
def test_what_is_unusual_is_the_librarys(raw: dict[str, Any], tmp_path: Path) -> None:
    assert settings_of(read_raw(written(raw, tmp_path)), str(tmp_path)) is None


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"model_type": ["llama"]}'])
def test_no_configuration_of_ours(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match="Supported families"):
        read_raw(str(tmp_path))


def test_generation_settings_come_first(checkpoints: Path, tmp_path: Path) -> None:
    raw = json.loads((checkpoints / "t-llama" / "config.json").read_text())
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    ours = settings_of(read_raw(written(raw, tmp_path)), str(tmp_path))
    assert ours is not None
    assert ours.shape.eos == (7, 8)
    assert ours.shape == read_shape(transformers.AutoConfig.from_pretrained(tmp_path), str(tmp_path))


def test_weights_in_several_files_of_half_precision(checkpoints: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoints / "t-opt", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    words, last = "model.decoder.embed_tokens.weight", "model.decoder.layers.3.fc2.bias"
    got = read_weights(str(tmp_path), {words: (512, 128), last: (128,)}, tied_to=words)
    assert got is not None
    want = model.state_dict()
    assert set(got) == {words, last, "lm_head.weight"}
    assert all(torch.equal(got[name], want[name].float()) for name in got)
    engine = TorchCompute.load(EngineConfig(str(tmp_path), max_batch=1, device_pages=4))
    assert engine.path.name == "fast opt"
    assert engine.weights_bytes == 4 * sum(p.numel() for p in model.parameters())


def test_weights_that_are_not_as_expected_are_left_to_the_library(checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoints / "t-opt" / "model.safetensors")
    words = "model.decoder.embed_tokens.weight"
    raw = json.loads((checkpoints / "t-opt" / "config.json").read_text())
    config = EngineConfig(written(raw, tmp_path))
    assert short_model(config) is None
    file = tmp_path / "model.safetensors"
    changes: list[dict[str, torch.Tensor]] = [
        {},
        {"lm_head.weight": tensors[words].clone()},
        {"lm_head.weight": tensors[words] + 1},
        {words: tensors[words][:-1]},
        {words: tensors[words].double()},
    ]
    found = []
    for change in changes:
        save_file(tensors | change, file)
        found.append(short_model(config) is not None)
    assert found == [True, True, False, False, False]
    file.write_bytes(b"not tensors at all")
    assert short_model(config) is None
    save_file({name: t for name, t in tensors.items() if "fc1" not in name}, file)
    assert short_model(config) is None


PROGRAM = """
import sys
from pathlib import Path
from systems.core.torch import checkpoint
checkpoint.ensure({name!r}, Path({root!r}))
assert "torch" not in sys.modules, "ensure of what is there"
from systems.core import profiler
assert "torch" not in sys.modules, "the profiler's --help"
from systems.core.config import EngineConfig
from systems.core.torch.compute import TorchCompute
compute = TorchCompute.load(EngineConfig({root!r} + "/" + {name!r}, max_batch=2, device_pages=8))
profiler.CELL_NS = 1
profiler.decode_ns(compute, 2, 16)
print(compute.path.name, *(name for name in ("transformers", "torch._dynamo") if name in sys.modules))
from systems.core.torch.pages import copy_rows
for kernel in (compute.paged.kernel, copy_rows):
    assert not kernel.stats.cache_misses and kernel.stats.cache_hits, "compiled again"
"""


@pytest.mark.parametrize("name", ["t-opt", "t-llama"])
def test_the_short_path_needs_no_transformers_and_compiles_nothing_again(checkpoints: Path, name: str) -> None:
    TorchCompute.load(EngineConfig(str(checkpoints / name), max_batch=2, device_pages=8))
    program = PROGRAM.format(name=name, root=str(checkpoints))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["fast", name.removeprefix("t-")], "")
