"""FastServe, Figure 14: the gain of preemption with a larger batch limit, ShareGPT."""

from ae.figure import At, Claim, Figure, Grid, Panel, Scene, Series, Slo, Workload
from systems.core.variant import Scalar

SHAREGPT = Workload("sharegpt", scale=8.0)
SPREAD = "text, notebook and the authors' re-run differ by up to 14 %; smoke: model, machine and lengths differ too"


def engine(batch: int) -> dict[str, Scalar]:
    """Give the batch limit and memory in proportion to it (7 pages a slot: figure11.py), so that only it changes."""
    return {
        "max_batch": batch,
        "max_tokens": 256,
        "max_model_len": 512,
        "page_tokens": 16,
        "device_pages": 7 * batch,
        "host_pages": 35 * batch,
        "link_bytes_per_s": 1e9,
    }


ALPHA: dict[str, Scalar] = {"alpha_steps": 10.0}  # promotion after 10 iterations, as 300 ms are in the paper

# The paper's scale: the artifact's rates, and how many requests it sends at each.
RATES_16 = At.each(
    {0.1: 20, 0.2: 50, 0.5: 100, 1: 200, 1.5: 300, 1.75: 350, 2: 400, 2.25: 400, 2.5: 400, 3: 400, 4: 400,
     4.5: 400, 5: 400, 5.5: 400, 6: 400, 10: 400},
    quick=(1, 2, 4, 10),
)  # fmt: skip
# Beyond the artifact's last rate (4 and 3.75) as many requests as there: FastServe crosses the SLO later here.
RATES_64 = At.each(
    {1: 200, 2: 400, 2.5: 500, 2.75: 550, 3: 600, 3.5: 650, 3.75: 700, 4: 700, 5: 700, 6: 700, 8: 700, 12: 700},
    quick=(2.5, 3, 4, 12),
)
RATES_128 = At.each(
    {1: 200, 2: 400, 2.5: 500, 2.75: 550, 3: 600, 3.5: 650, 3.75: 675, 5: 675, 6: 675, 8: 675, 12: 675},
    quick=(2.5, 3, 3.75, 12),
)


def scene(batch: int, at: tuple[At, ...], host_pages: int) -> Scene:
    """Give the paper's card, which stays the same whatever the batch limit is."""
    limits: dict[str, Scalar] = {"max_batch": batch, "max_tokens": 2048, "max_model_len": 2048, "page_tokens": 16}
    pages: dict[str, Scalar] = {"device_pages": 911, "host_pages": host_pages}
    return Scene("opt-13b", "a100-40g", Workload("sharegpt", scale=1.0), at, engine={**limits, **pages})


FIGURE = Figure(
    id="fastserve/figure14",
    title="FastServe Figure 14: larger batch limits",
    caption="Mean end-to-end latency per output token for batch limits of 16, 64 and 128 (smoke: 4, 16 and 32).",
    metric="normalized_latency_mean",
    panels=(
        Panel(
            name="bs4",
            title="batch limit 16 (smoke: 4)",
            workload=SHAREGPT,
            slo=Slo(normalized=10.0, paper_normalized=0.3),
            engine=engine(4),
            paper={"paper": "fig11_opt13b_sharegpt_paper", "re-run": "fig11_opt13b_sharegpt_ae"},
            scene=scene(16, RATES_16, 4587),  # host pools of 56, 60 and 64 GiB
        ),
        Panel(
            name="bs16",
            title="batch limit 64 (smoke: 16)",
            workload=SHAREGPT,
            slo=Slo(normalized=10.0, paper_normalized=0.25),
            engine=engine(16),
            turns=9.4,
            slo_of="bs4",
            paper={"paper": "fig14_bs64_paper", "re-run": "fig14_bs64_ae"},
            scene=scene(64, RATES_64, 4915),
        ),
        Panel(
            name="bs32",
            title="batch limit 128 (smoke: 32)",
            workload=SHAREGPT,
            slo=Slo(normalized=10.0, paper_normalized=0.25),
            engine=engine(32),
            turns=4.7,
            slo_of="bs4",
            paper={"paper": "fig14_bs128_paper", "re-run": "fig14_bs128_ae"},
            scene=scene(128, RATES_128, 5242),
        ),
    ),
    series=(
        Series("vllm", "vLLM-like", "vllm/alternating", color="blue", marker="s", costs="vllm-0.6"),
        Series("fcfs", "FastServe-FCFS", "fastserve/fcfs", color="orange", marker="^"),
        Series("fastserve", "FastServe", "fastserve/skip-join", ALPHA, color="vermillion", marker="o"),
    ),
    grids={
        "quick": Grid(loads=(0.8, 1.25, 2.0, 3.5), trials=1, seconds=1.5, turns=25.0, panels=("bs4", "bs32")),
        "full": Grid(loads=(0.2, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0), trials=5, seconds=1.5, turns=25.0),
    },
    claims=(
        Claim(
            id="C4-bs16",
            section="6.2, Fig. 11",
            wording="With the small batch limit FastServe carries 2 to 4 times the load of FCFS on the same engine; "
            "OPT-13B is the lower end.",
            panel="bs4",
            a="fastserve",
            b="fcfs",
            value=2.0,
            source="text; notebook points give 2.03",
            tolerance=0.25,
            tolerance_reason="the authors' re-run gives 1.84; smoke: model, machine and lengths differ too",
        ),
        Claim(
            id="C8-bs64",
            section="6.3, Fig. 14",
            wording="With a batch limit of 64 FastServe still carries 1.43 times the load of vLLM.",
            panel="bs16",
            a="fastserve",
            b="vllm",
            value=1.43,
            data=1.37,
            source="text",
            tolerance=0.25,
            tolerance_reason=SPREAD,
            note="The notebook's points give 1.37 at 0.25 s/token, the re-run's 1.27 at 0.2: the data wins.",
        ),
        Claim(
            id="C8-bs128",
            section="6.3, Fig. 14",
            wording="With a batch limit of 128 FastServe still carries 1.51 times the load of vLLM.",
            panel="bs32",
            a="fastserve",
            b="vllm",
            value=1.51,
            data=1.34,
            source="text",
            tolerance=0.25,
            tolerance_reason=SPREAD,
            note="In the text the gain grows from 1.43 to 1.51; in the notebook's points it falls from 1.37 to 1.34, "
            "and against FCFS from 1.29 to 1.17: the data wins.",
        ),
        Claim(
            id="C8-shrinks",
            section="6.3, Fig. 14 against Fig. 11",
            wording="The more requests fit into a batch, the less there is to preempt: the gain over FCFS shrinks.",
            panel="bs4",
            other_panel="bs32",
            a="fastserve",
            b="fcfs",
            value=1.0,
            source="notebook points: 2.03 at batch limit 16, 1.29 at 64, 1.17 at 128",
            tolerance=0.0,
            tolerance_reason="an order",
            statistic="shrinks",
        ),
        Claim(
            id="C8-shrinks-bs64",
            section="6.3, Fig. 14 against Fig. 11",
            wording="Already from 16 to 64 the gain over FCFS shrinks.",
            panel="bs4",
            other_panel="bs16",
            a="fastserve",
            b="fcfs",
            value=1.0,
            source="notebook points: 2.03 at batch limit 16, 1.29 at 64",
            tolerance=0.0,
            tolerance_reason="an order",
            statistic="shrinks",
        ),
    ),
    tiers=("smoke", "sim"),
    hardware="1x A100-40GB (AWS p4d.24xlarge), OPT-13B fp16, batch limits 64 and 128",
    minutes={"quick": 1.2, "full": 14.4},
    limitations=(
        "Smoke: a 4-layer model with random weights, lengths / 8, batch limits / 4; only ratios compare.",
        "Smoke: the SLO is the same time on all panels, 10 decode iterations at the smallest batch limit.",
        "Smoke: points have as many requests per place of the batch as the paper's: 400/16, 600/64 and 600/128.",
        "FastServe's alpha is 10 decode iterations at each panel's batch limit; the paper's is one time for all.",
        "Smoke: memory grows with the batch limit, so that nothing else changes; the paper and tier sim keep one card.",
        "Sim: rates beyond the artifact's last ones (4 and 3.75) are ours, with as many requests as at those.",
        "Sim: the scripts have host pools of 56 to 64 GiB without saying which is whose: 56, 60 and 64 are assumed.",
        "Sim: vLLM-like has the iteration times published for vLLM of early 2024.",
        "The first panel's published points are Figure 11's; the paper has no panel for that batch limit here.",
        "The re-run's axis ends at 0.25 s/token: its crossings are taken at 0.2, the paper's at 0.25 and 0.3.",
        "vLLM-like is vLLM 0.6.1's scheduling on this engine, not vLLM: its absolute speed is not claimed.",
    ),
    y_label="mean latency, ms per output token",
    paper_y_label="mean latency, s per output token",
)
