"""Names, memory, estimators, and everything together as a simulation asks for it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from systems.core.cost import tables
from systems.core.cost.capacity import Split, capacity
from systems.core.cost.constants import constants, engine, engines
from systems.core.cost.estimator import CostEstimator
from systems.core.cost.fitted import LinearFit, Overhead
from systems.core.cost.gpu import GIB, gpu, gpus
from systems.core.cost.named import Hardware, cost_model, machine
from systems.core.cost.shape import ModelShape, models, shape
from systems.core.errors import UsageError


def _counted(s: ModelShape) -> float:
    attention = 2 * s.hidden * s.heads * s.head_dim + 2 * s.hidden * s.kv_heads * s.head_dim
    mlp = (3 if s.gated else 2) * s.hidden * s.inter
    return s.layers * (attention + mlp) + s.vocab * s.hidden * (1 if s.tied else 2)


@pytest.mark.parametrize("name", models())
def test_parameters_agree_with_the_shape(name: str) -> None:
    assert shape(name).params == pytest.approx(_counted(shape(name)), rel=0.006)  # biases, norms, positions


def test_opt_13b_is_what_fastserve_says() -> None:
    assert shape("opt-13b").kv_bytes_token == 819_200
    assert shape("OPT-175b").kv_bytes_token == pytest.approx(4.6e6, rel=0.03)
    assert shape("llama-2-70b").kv_bytes_token_shard(8) == 4 * 80 * 128
    assert shape("yi-1.5-9b").kv_bytes_token_shard(8) == 4 * 48 * 128  # 4 KV heads over 8 GPUs: one each


@pytest.mark.parametrize(
    ("hardware", "what", "fix"),
    [
        (Hardware("lama-2-7b", "h100"), "There is no model 'lama-2-7b'.", "Did you mean llama-2-7b"),
        (Hardware("opt-13b", "a100"), "There is no GPU 'a100'.", "a100-80g"),
        (Hardware("opt-13b", "tpu"), "There is no GPU 'tpu'.", "Known: a10-24g, a40-48g"),
        (Hardware("opt-13b", "h100", engine="vlm"), "There is no engine 'vlm'.", "Known: ideal"),
        (Hardware("opt-13b", "h100", fabric="wire"), "There is no fabric 'wire'.", "Known: a100-nvlink"),
        (Hardware("opt-13b", "h100", tp=3), "opt-13b has 40 heads: not over 3 GPUs.", "Use tp"),
        (Hardware("opt-13b", "h100", tp=10), "There are no all-reduce times", "pipeline stages"),
        (Hardware("opt-13b", "h100", utilisation=1.5), "make no sense", "utilisation above 0"),
    ],
)
def test_what_cannot_be_is_named_with_what_can(hardware: Hardware, what: str, fix: str) -> None:
    with pytest.raises(UsageError) as error:
        machine(hardware)
    assert what in error.value.what
    assert fix in error.value.fix


def test_a_name_may_be_short_when_it_means_one() -> None:
    assert gpu("H100") == gpu("h100-80g")


def test_every_gpu_and_engine_has_constants_with_sources() -> None:
    for on in gpus():
        for how in engines():
            known = constants(gpu(on), 2, engine(how))
            assert all(re.search(r": \S", line) for line in known.sources)
            assert 0 < known.linear.ec <= 1 and 0 < known.decode.share <= 1  # noqa: PT018 (one thought)


def test_kv_pages_by_arithmetic() -> None:
    on, model = gpu("h100"), shape("llama-3-8b")
    free = 0.89 * 80 * GIB - 2 * 8.0303e9
    assert capacity(model, on, Split()).pages == int(free // (16 * 131_072))
    halves = capacity(model, on, Split(tp=2))
    assert halves.pages == int((0.89 * 80 * GIB - 8.0303e9) // (16 * 131_072 / 2))
    assert capacity(model, on, Split(pp=2)).pages == halves.pages


@pytest.mark.parametrize(
    ("on", "how", "tokens"),
    [
        ("a100-40g", "swifttransformer", 911 * 16),
        ("a100-80g", "swifttransformer", 3813 * 16),
        ("a100-80g", "distserve", 66_144),
        ("a10-24g", "vllm-2023", 832 * 16),
    ],
)
def test_stated_capacities_win(on: str, how: str, tokens: int) -> None:
    model = "llama-7b" if on == "a10-24g" else "opt-13b"
    assert machine(Hardware(model, on, engine=how)).capacity.tokens == tokens


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    with pytest.raises(UsageError) as error:
        machine(Hardware("opt-66b", "a100-40g"))
    short = 2 * 65.7197e9 / GIB + 16 * 2_359_296 / GIB - 0.89 * 39.4
    assert f"each GPU is {short:.1f} GiB short (122.4 GiB of weights, 35.1 GiB usable)" in error.value.what
    assert error.value.fix == "It fits with tp 4, or with pp 4, or as it is on h200-141g."
    machine(Hardware("opt-66b", "a100-40g", tp=4))
    machine(Hardware("opt-66b", "h200-141g"))
    machine(Hardware("opt-66b", "a100-40g", pp=4))
    with pytest.raises(UsageError, match=r"It fits with pp 2, or as it is on a40-48g, a100-80g, .*\."):
        machine(Hardware("opt-175b", "l4-24g", tp=8))
    with pytest.raises(UsageError, match=r"fits with tp 4, or with pp 4\."):
        machine(Hardware("opt-175b", "h200-141g"))
    machine(Hardware("opt-175b", "l4-24g", tp=8, pp=2))


def test_a_fit_is_used_where_there_is_one() -> None:
    assert isinstance(machine(Hardware("opt-13b", "a100-40g", engine="swifttransformer")).cost, LinearFit)
    for other in (
        Hardware("opt-13b", "a100-40g", engine="swifttransformer", fits=False),
        Hardware("opt-13b", "h100", engine="swifttransformer"),
        Hardware("opt-30b", "a100-80g", engine="swifttransformer"),
        Hardware("opt-13b", "a100-80g", pp=2, engine="swifttransformer"),
    ):
        assert "analytic" in machine(other).describe()


def test_a_fit_shows_its_numbers() -> None:
    text = machine(Hardware("opt-13b", "a100-80g", engine="swifttransformer")).describe()
    assert "decode 19.935 + 0.00062694 x context + 0.038507 x batch ms: DistServe 82831f1" in text
    assert "prefill 18.103 + 0.10191 x tokens" in text


def test_the_digest_of_the_data_follows_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tables.digest()
    changed = {"a10-24g": {**tables.row("gpus", "a10-24g"), "hbm": 601}}
    read = tables.read
    monkeypatch.setattr(tables, "read", lambda name: {**read(name), **changed} if name == "gpus" else read(name))
    tables.digest.cache_clear()
    assert tables.digest() != before
    monkeypatch.undo()
    tables.digest.cache_clear()
    assert tables.digest() == before


def test_an_overhead_is_in_every_iteration_and_in_the_caption() -> None:
    hardware = Hardware("opt-13b", "a100-40g", engine="swifttransformer")
    slow = Hardware(
        "opt-13b", "a100-40g", engine="swifttransformer", overhead=Overhead("python", 4_000_000, "fitted", "one point")
    )
    base, cost = machine(hardware).cost, machine(slow).cost
    assert cost.iteration_ns((), 4, 99) - base.iteration_ns((), 4, 99) == 4_000_000
    assert cost.iteration_ns((), 0, 0) == 0
    assert "overhead 'python' 4 ms an iteration (fitted): one point" in machine(slow).describe()


def test_a_machine_says_where_everything_is_from() -> None:
    found = machine(Hardware("llama-2-70b", "h100", tp=4))
    assert found.page_bytes == 16 * 327_680
    assert found.host_link == 4 * 55.6e9
    for word in (
        "989 TFLOP/s",
        "linear (modern)",
        "all-reduce over 4",
        "KV ",
        "host link 55.6 GB/s a GPU, all 4 at once",
        "BLIS",
    ):
        assert word in found.describe()


def test_the_estimator_is_another_object_that_agrees_unless_told_otherwise() -> None:
    hardware = Hardware("opt-13b", "a100-40g", engine="vllm-0.6")
    right, wrong = machine(hardware), machine(hardware, error=0.5)
    assert right.estimator._cost is not right.cost
    assert right.estimator.prefill(512) == right.cost.iteration_ns([(512, 0)], 0, 0)
    assert right.estimator.decode(16, 4096) == right.cost.iteration_ns((), 16, 4096)
    assert right.estimator.shortest() == right.cost.iteration_ns((), 1, 1)
    assert wrong.estimator.decode(16, 4096) == round(1.5 * right.estimator.decode(16, 4096))
    with pytest.raises(UsageError, match="cannot be off"):
        CostEstimator(right.cost, error=-1.0)


@given(tp=st.sampled_from([1, 2, 4, 8]), batch=st.integers(1, 256), context=st.integers(1, 10**5))
def test_a_faster_memory_is_never_slower(tp: int, batch: int, context: int) -> None:
    slow, fast = (
        cost_model(Hardware("llama-2-70b", on, tp=tp, engine="swifttransformer"))[0] for on in ("a100-40g", "a100-80g")
    )
    assert fast.iteration_ns((), batch, context) <= slow.iteration_ns((), batch, context)
