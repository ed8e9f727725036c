"""FastServe, Figure 13: share of jobs that meet both a TTFT and a normalized-latency SLO. Draws Figure 11's points."""

from ae.figure import At, Claim, Figure, Grid, Panel, Scene, Series, Slo, Workload
from systems.core.variant import Scalar

# As in figure11.py, whose points these are, at both tiers.
ENGINE: dict[str, Scalar] = {
    "max_batch": 4,
    "max_tokens": 256,
    "max_model_len": 512,
    "page_tokens": 16,
    "device_pages": 28,
    "host_pages": 140,
    "link_bytes_per_s": 1e9,
}
SHAREGPT = Workload("sharegpt", scale=8.0)
SPREAD = "the text gives one range for three panels, and the authors' re-run exceeds it by up to 43 %"
RERUN = "The text's range is not tied to panels; the re-run, the only points published, gives 2.13, 2.40 and 2.60."

# The paper's TTFT targets are 52, 103 and 207 iterations of 30 ms. A wait shrinks with the lengths, so they are
# divided by the same 8; a latency per token does not.
ALPHA: dict[str, Scalar] = {"alpha_steps": 10.0}  # promotion after 10 iterations, as 300 ms are in the paper

RATES = At.each(
    {0.1: 20, 0.2: 50, 0.5: 100, 1: 200, 1.5: 300, 1.75: 350, 2: 400, 2.25: 400, 2.5: 400, 3: 400, 4: 400,
     4.5: 400, 5: 400, 5.5: 400, 6: 400, 10: 400},
    quick=(1, 2, 4, 10),
)  # fmt: skip
LIMITS: dict[str, Scalar] = {"max_batch": 16, "max_tokens": 2048, "max_model_len": 2048, "page_tokens": 16}
SCENE = Scene(
    "opt-13b",
    "a100-40g",
    Workload("sharegpt", scale=1.0),
    RATES,
    engine={**LIMITS, "device_pages": 911, "host_pages": 4587},
)

FIGURE = Figure(
    id="fastserve/figure13",
    title="FastServe Figure 13: jobs that meet both SLOs",
    caption="Share of jobs within both a TTFT and a normalized-latency target; goodput is the load at which it falls "
    "below 95 %.",
    metric="slo_attainment",
    panels=(
        Panel(
            name="5x",
            title="SLO scale 5x",
            workload=SHAREGPT,
            slo=Slo(normalized=5.0, paper_normalized=0.15, ttft=6.46, paper_ttft=1.55),
            engine=ENGINE,
            paper={"re-run": "fig13_5x_ae"},
            scene=SCENE,
        ),
        Panel(
            name="10x",
            title="SLO scale 10x",
            workload=SHAREGPT,
            slo=Slo(normalized=10.0, paper_normalized=0.3, ttft=12.9, paper_ttft=3.1),
            engine=ENGINE,
            paper={"re-run": "fig13_10x_ae"},
            scene=SCENE,
        ),
        Panel(
            name="20x",
            title="SLO scale 20x",
            workload=SHAREGPT,
            slo=Slo(normalized=20.0, paper_normalized=0.6, ttft=25.8, paper_ttft=6.2),
            engine=ENGINE,
            paper={"re-run": "fig13_20x_ae"},
            scene=SCENE,
        ),
    ),
    series=(
        Series("vllm", "vLLM-like", "vllm/alternating", color="blue", marker="s", costs="vllm-0.6"),
        Series("fcfs", "FastServe-FCFS", "fastserve/fcfs", color="orange", marker="^"),
        Series("fastserve", "FastServe", "fastserve/skip-join", ALPHA, color="vermillion", marker="o"),
    ),
    grids={
        "quick": Grid(loads=(0.8, 1.25, 2.0, 3.5), trials=1, seconds=1.5, turns=25.0),
        "full": Grid(loads=(0.2, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0), trials=5, seconds=1.5, turns=25.0),
    },
    claims=(
        *(
            Claim(
                id=f"C7-{panel}",
                section="6.2, Fig. 13",
                wording=f"With {panel} targets FastServe's goodput is 1.66 to 1.82 times vLLM's.",
                panel=panel,
                a="fastserve",
                b="vllm",
                value=1.66,
                value_high=1.82,
                source="text",
                tolerance=0.25,
                tolerance_reason=SPREAD,
                note=RERUN,
            )
            for panel in ("5x", "10x", "20x")
        ),
        Claim(
            id="C7-order",
            section="6.2, Fig. 13",
            wording="FastServe's goodput is also above that of FCFS on the same engine.",
            panel="10x",
            a="fastserve",
            b="fcfs",
            value=1.0,
            source="curves; the re-run gives 1.72",
            tolerance=0.0,
            tolerance_reason="an order",
            statistic="order",
        ),
    ),
    tiers=("smoke", "sim"),
    hardware="1x A100-40GB (AWS p4d.24xlarge), OPT-13B fp16, batch limit 16",
    minutes={"quick": None, "full": 0.1},
    limitations=(
        "Published are only the authors' re-run: one panel's curves, and for the others the crossing of 95 %.",
        "Smoke: a 4-layer model with random weights, lengths / 8, batch limit 4 for 16; only ratios compare.",
        "A failed request counts as a miss; the artifact drops it.",
        "Sim: vLLM-like has the iteration times published for vLLM of early 2024.",
    ),
    y_label="jobs that meet both SLOs (%)",
    y_unit=0.01,
    paper_y_label="jobs that meet both SLOs (%)",
    paper_y_unit=0.01,
    shares="fastserve/figure11",
)
