"""One call that says what the CUDA path is worth here: parity, and decode speed against memory bandwidth.

`python scripts/gpu_check.py` takes under eight minutes on one GPU and prints a table. Without a GPU it prints one line
and exits with 4. It has NEVER RUN on a GPU yet: no committed number comes from it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from systems.core.config import EngineConfig
from systems.core.plan import Iteration, Span, SpanKind
from systems.core.request import Request, Sampling
from systems.core.torch.checkpoint import ensure
from systems.core.torch.compute import TorchCompute

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}  # largest difference of a logit; tiny models' logits spread about 2
SHAPE_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
}  # fmt: skip
CONTEXT, PAGE, SECONDS = 1024, 16, 420
Row = tuple[str, str, str]


def main() -> int:
    """Run every check that fits the time; 0 when parity holds, 1 when not, 4 without a GPU."""
    if not torch.cuda.is_available():
        print("No CUDA device is visible to torch here: nothing was checked.")
        return 4
    start = time.monotonic()
    rows: list[Row] = [("device", torch.cuda.get_device_name(), "")]
    sound = True
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("t-opt", "t-llama"):
            for dtype, allowed in TOLERANCE.items():
                worst = largest_difference(str(ensure(name, root)), dtype)
                sound &= worst <= allowed
                rows.append((f"parity {name} {dtype}", f"{worst:.2e}", f"allowed {allowed}"))
        rate = copy_bandwidth()
        rows.append(("memory bandwidth, measured copy", f"{rate / 1e9:.0f} GB/s", ""))
        (root / "config.json").write_text(json.dumps(SHAPE_8B))
        rows += [decode_row(str(root), n, rate) for n in (1, 16, 64) if time.monotonic() - start < SECONDS]
    for what, value, note in rows:
        print(f"{what:40} {value:>24}   {note}")
    return 0 if sound else 1


def largest_difference(model: str, dtype: str) -> float:
    """Between the logits of a mixed pass on CPU in float32 and on the GPU in `dtype`."""
    logits = []
    for device, kind in (("cpu", "float32"), ("cuda", dtype)):
        config = EngineConfig(model, max_batch=4, device_pages=64, host_pages=4)
        compute = TorchCompute.load(config.but(device=device, dtype=kind))
        for name, size in enumerate((40, 7, 90)):
            compute.admit(Request(name, tuple(4 + (31 * name + 17 * i) % 500 for i in range(size)), Sampling()))
        tables = [tuple(range(8 * name, 8 * name + 8)) for name in range(3)]
        first = tuple(Span(n, 0, size, SpanKind.CHUNK, (tables[n],)) for n, size in enumerate((30, 5, 64)))
        rest = tuple(Span(n, s, c, SpanKind.CHUNK, (tables[n],)) for n, s, c in ((0, 30, 10), (1, 5, 2), (2, 64, 26)))
        lane = compute.batches.lane(0)
        with torch.inference_mode():
            compute.path.forward(compute.batches.rows(lane, first))
            logits.append(compute.path.forward(compute.batches.rows(lane, rest)).float().cpu())
    return float((logits[0] - logits[1]).abs().max())


def copy_bandwidth() -> float:
    """Bytes read and written per second by a large device copy, best of ten."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best


def decode_row(model: str, batch: int, rate: float) -> Row:
    """Median decode step of an 8B shape with dummy weights against the bytes it must read."""
    pages = batch * (CONTEXT // PAGE + 4)
    config = EngineConfig(
        model, device="cuda", dtype="bfloat16", dummy_weights=True, max_batch=batch, device_pages=pages, host_pages=1
    )
    compute = TorchCompute.load(config)
    each = pages // batch
    for name in range(batch):
        compute.admit(Request(name, tuple(7 + i % 1000 for i in range(CONTEXT)), Sampling()))
    tables = [tuple(range(name * each, (name + 1) * each)) for name in range(batch)]
    members = tuple(Span(n, CONTEXT - 1, 1, SpanKind.DECODE, (tables[n],)) for n in range(batch))
    compute.step(Iteration(0, joined=members))
    times = []
    for number in range(1, 40):
        start = time.perf_counter()
        step = compute.step(Iteration(number))
        times.append(time.perf_counter() - start)
        assert len(step.tokens) == batch, step.failed
    took = statistics.median(times[5:])
    table = 2 * compute.shape.vocab * 4096  # of the embedding only a row per request is read
    moved = compute.weights_bytes - table + batch * CONTEXT * compute.layout.token_bytes
    del compute
    torch.cuda.empty_cache()
    share = moved / rate / took
    return f"decode 8B bf16, batch {batch}, context {CONTEXT}", f"{took * 1e3:.2f} ms", f"{share:.0%} of the roofline"


if __name__ == "__main__":
    sys.exit(main())
