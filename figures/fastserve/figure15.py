"""FastServe, Figure 15: a model with grouped-query attention (Llama-3-8B), ShareGPT and Alpaca."""

from ae.figure import At, Claim, Figure, Grid, Panel, Scene, Series, Slo, Workload
from systems.core.variant import Scalar

# Grouped queries make KV small: one A100-40GB holds 310 mean ShareGPT requests of Llama-3-8B beside its weights.
# Lengths / 8 and a batch limit of 4 for 16 make that 300 pages.
ENGINE: dict[str, Scalar] = {
    "max_batch": 4,
    "max_tokens": 256,
    "max_model_len": 512,
    "page_tokens": 16,
    "device_pages": 300,
    "host_pages": 300,
    "link_bytes_per_s": 1e9,
}
SLO = Slo(normalized=10.0, paper_normalized=0.25)
ALPHA: dict[str, Scalar] = {"alpha_steps": 10.0}  # promotion after 10 iterations, as 300 ms are in the paper

# The paper's scale: the artifact's rates, and how many requests it sends at each (Alpaca from 16 jobs/s on and where
# only vLLM has the rate: 200 s of arrivals, as at the others). Pages are what fits; the host pool of 40 GiB.
SHAREGPT_RATES = At.each(
    {1: 200, 2: 400, 3: 600, 3.3: 660, 3.5: 700, 3.8: 760, 4: 800, 5: 1000, 5.5: 1000, 6: 1200, 7: 1400,
     8: 1600, 9: 1800, 10: 2000, 11: 2200, 12: 3000},
    quick=(3.3, 3.8, 5, 8),
)  # fmt: skip
ALPACA_RATES = At.each(
    {1: 200, 2: 400, 4: 800, 6: 1200, 8: 1600, 10: 2000, 11: 2200, 12: 2500, 15: 3000, 16: 3200, 17: 3400,
     18: 3600, 21: 4200, 23: 4600, 25: 5000},
    quick=(12, 15, 18, 21),
)  # fmt: skip


def scene(workload: str, at: tuple[At, ...]) -> Scene:
    """Give one A100-40GB; queues of any length, since 5,000 requests are sent."""
    limits: dict[str, Scalar] = {"max_batch": 16, "max_tokens": 2048, "max_model_len": 2048, "page_tokens": 16}
    room: dict[str, Scalar] = {"max_queue": 8192, "host_pages": 20480}
    return Scene("llama-3-8b", "a100-40g", Workload(workload, scale=1.0), at, engine={**limits, **room})


FIGURE = Figure(
    id="fastserve/figure15",
    title="FastServe Figure 15: a model with grouped-query attention",
    caption="Mean end-to-end latency per output token. A system carries the load at which its curve crosses the SLO.",
    metric="normalized_latency_mean",
    panels=(
        Panel(
            name="sharegpt",
            title="ShareGPT",
            workload=Workload("sharegpt", scale=8.0),
            slo=SLO,
            checkpoint="t-llama-smoke",
            engine=ENGINE,
            paper={"paper": "fig15a_llama3_8b_sharegpt_paper", "re-run": "fig15a_llama3_8b_sharegpt_ae"},
            scene=scene("sharegpt", SHAREGPT_RATES),
        ),
        Panel(
            name="alpaca",
            title="Alpaca",
            workload=Workload("alpaca", scale=4.0),
            slo=SLO,
            checkpoint="t-llama-smoke",
            engine=ENGINE,
            paper={"paper": "fig15b_llama3_8b_alpaca_paper", "re-run": "fig15b_llama3_8b_alpaca_ae"},
            scene=scene("alpaca", ALPACA_RATES),
        ),
    ),
    series=(
        Series("vllm", "vLLM-like", "vllm/alternating", color="blue", marker="s", costs="vllm-0.6"),
        Series("fcfs", "FastServe-FCFS", "fastserve/fcfs", color="orange", marker="^"),
        Series("fastserve", "FastServe", "fastserve/skip-join", ALPHA, color="vermillion", marker="o"),
    ),
    grids={
        "quick": Grid(loads=(0.8, 1.25, 2.0, 3.5), trials=1, seconds=1.5, turns=25.0),
        "full": Grid(loads=(0.2, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0), trials=3, seconds=1.5, turns=25.0),
    },
    claims=(
        Claim(
            id="C9-sharegpt",
            section="6.3, Fig. 15",
            wording="With Llama-3-8B on ShareGPT FastServe carries 2.1 times the load of vLLM.",
            panel="sharegpt",
            a="fastserve",
            b="vllm",
            value=2.1,
            data=1.56,
            source="text",
            tolerance=0.25,
            tolerance_reason="notebook (1.56) and re-run (1.92) differ by 23 %",
            note="The notebook's points give 1.56 at its threshold of 0.25 s/token, not 2.1: the data wins.",
        ),
        Claim(
            id="C9-alpaca",
            section="6.3, Fig. 15",
            wording="With Llama-3-8B on Alpaca FastServe carries 3.0 times the load of vLLM.",
            panel="alpaca",
            a="fastserve",
            b="vllm",
            value=3.0,
            data=1.9,
            source="text",
            tolerance=0.25,
            tolerance_reason="as for ShareGPT",
            note="The notebook gives 4.48, but interpolates vLLM between 1 and 10 jobs/s; the re-run has points between "
            "and gives 1.9: the data that resolve the crossing win.",
        ),
        Claim(
            id="C9-fcfs",
            section="6.3, Fig. 15",
            wording="FastServe also carries more than FCFS on the same engine.",
            panel="sharegpt",
            a="fastserve",
            b="fcfs",
            value=1.0,
            source="curves; notebook points give 1.39, the re-run's 1.53",
            tolerance=0.0,
            tolerance_reason="an order",
            statistic="order",
        ),
    ),
    tiers=("smoke", "sim"),
    hardware="1x A100-40GB (AWS p4d.24xlarge), Llama-3-8B, batch limit 16",
    minutes={"quick": None, "full": 5.0},
    limitations=(
        "Smoke: 4 layers, 8 query heads and 2 KV heads, random weights, ShareGPT lengths / 8, Alpaca lengths / 4.",
        "Smoke: batch limit 4 for 16; loads and SLO are multiples of what is measured here; only ratios compare.",
        "vLLM-like is vLLM 0.6.1's scheduling on this engine, not vLLM: its absolute speed is not claimed.",
        "The artifact's Llama-3 profile was never published; ours is measured. Sim: all times are extrapolated.",
        "Sim: the GPU of this experiment is not named, the paper's A100-40GB is assumed; a host pool of 40 GiB.",
        "Sim: of Alpaca only the mean lengths are published; their spread is assumed.",
    ),
    y_label="mean latency, ms per output token",
    paper_y_label="mean latency, s per output token",
)
