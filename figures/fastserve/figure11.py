"""FastServe, Figure 11: mean normalized latency against load, one GPU's column (OPT-13B), ShareGPT and Alpaca."""

from ae.figure import At, Claim, Figure, Grid, Panel, Scene, Series, Slo, Workload
from systems.core.variant import Scalar

# One A100-40GB holds 911 KV blocks, 29 mean ShareGPT requests for a batch limit of 16; lengths / 8 and a batch
# limit of 4 make that 28 pages. The host pool is 5 times as large (56 GiB in the artifact's scripts), and moving
# a request at its mean final length takes 0.6 of a decode iteration, as over PCIe 4.0 (16 ms of 25).
ENGINE: dict[str, Scalar] = {
    "max_batch": 4,
    "max_tokens": 256,
    "max_model_len": 512,
    "page_tokens": 16,
    "device_pages": 28,
    "host_pages": 140,
    "link_bytes_per_s": 1e9,
}
SLO = Slo(normalized=10.0, paper_normalized=0.3)
SPREAD = "the authors' re-run of one curve moves this ratio by up to 23 %; here model, machine and lengths differ too"
ALPHA: dict[str, Scalar] = {"alpha_steps": 10.0}  # promotion after 10 iterations, as 300 ms are in the paper

# The paper's scale: the artifact's rates with their numbers of requests; 911 KV blocks, 56 GiB of host memory.
LIMITS: dict[str, Scalar] = {
    "max_batch": 16,
    "max_tokens": 2048,
    "max_model_len": 2048,
    "page_tokens": 16,
    "device_pages": 911,
    "host_pages": 4587,
}
RATES_13B = (
    *(At(rate, rate, n) for rate, n in ((0.1, 20), (0.2, 50), (0.5, 100))),
    At(1.0, 1.0, 200, quick=True),
    *(At(rate, rate, n) for rate, n in ((1.5, 300), (1.75, 350))),
    At(2.0, 2.0, 400, quick=True),
    *(At(rate, rate, 400) for rate in (2.25, 2.5)),
    At(3.0, 3.0, 400, quick=True),
    *(At(rate, rate, 400) for rate in (4.0, 4.5)),
    At(5.0, 5.0, 400, quick=True),
    *(At(rate, rate, 400) for rate in (5.5, 6.0, 10.0)),
)

FIGURE = Figure(
    id="fastserve/figure11",
    title="FastServe Figure 11: mean latency against load",
    caption="Mean end-to-end latency per output token. A system carries the load at which its curve crosses the SLO.",
    metric="normalized_latency_mean",
    panels=(
        Panel(
            name="sharegpt",
            title="ShareGPT",
            workload=Workload("sharegpt", scale=8.0),
            slo=SLO,
            engine=ENGINE,
            paper={"paper": "fig11_opt13b_sharegpt_paper", "re-run": "fig11_opt13b_sharegpt_ae"},
            scene=Scene("opt-13b", "a100-40g", Workload("sharegpt", scale=1.0), RATES_13B, engine=LIMITS),
        ),
        Panel(
            name="alpaca",
            title="Alpaca",
            workload=Workload("alpaca", scale=4.0),
            slo=SLO,
            engine=ENGINE,
            paper={"paper": "fig11_opt13b_alpaca_paper", "re-run": "fig11_opt13b_alpaca_ae"},
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
        Claim(
            id="C4-sharegpt",
            section="6.2, Fig. 11",
            wording="At equal mean latency FastServe carries 2 to 4 times the load of FCFS on the same engine; "
            "OPT-13B is the lower end.",
            panel="sharegpt",
            a="fastserve",
            b="fcfs",
            value=2.0,
            source="text; notebook points give 2.03",
            tolerance=0.25,
            tolerance_reason=SPREAD,
        ),
        Claim(
            id="C3-sharegpt",
            section="6.2, Fig. 11",
            wording="At equal mean latency FastServe carries 2.1 to 6.1 times the load of vLLM 0.6.1; OPT-13B is the "
            "lower end.",
            panel="sharegpt",
            a="fastserve",
            b="vllm",
            value=2.1,
            source="text; notebook points give 2.13",
            tolerance=0.25,
            tolerance_reason=SPREAD,
            note="Both series run on one engine here, so this shows the schedulers' part only. The notebook's OPT-66B "
            "and 175B points give 9.8 and 9.3, above the 6.1 of the text: its vLLM curves are likely older.",
        ),
        Claim(
            id="C5-alpaca-fcfs",
            section="6.2, Fig. 11",
            wording="On Alpaca FastServe carries 1.6 to 2 times the load of FCFS on the same engine.",
            panel="alpaca",
            a="fastserve",
            b="fcfs",
            value=1.6,
            value_high=2.0,
            source="text, range over three models; OPT-13B points give 1.98",
            tolerance=0.25,
            tolerance_reason=SPREAD,
        ),
        Claim(
            id="C5-alpaca-vllm",
            section="6.2, Fig. 11",
            wording="On Alpaca FastServe carries 2.75 to 3.5 times the load of vLLM 0.6.1.",
            panel="alpaca",
            a="fastserve",
            b="vllm",
            value=2.75,
            value_high=3.5,
            source="text, range over three models; OPT-13B points give 2.76",
            tolerance=0.25,
            tolerance_reason=SPREAD,
            note="The re-run gives 4.16: its vLLM is slower. Here both series run on one engine.",
        ),
        Claim(
            id="C2-sharegpt",
            section="6.2, Fig. 11",
            wording="FastServe carries 31.5 times the load of FasterTransformer on OPT-13B.",
            panel="sharegpt",
            a="fastserve",
            b="fastertransformer",
            value=31.5,
            source="text, lower end of 31.5 to 74.9",
            tolerance=0.05,
            tolerance_reason="the same points, read twice",
            untested="FasterTransformer is not run: the artifact does not run it either, its points are constants there",
        ),
        Claim(
            id="C2-alpaca",
            section="6.2, Fig. 11",
            wording="On Alpaca FastServe carries 9.5 to 15.8 times the load of FasterTransformer.",
            panel="alpaca",
            a="fastserve",
            b="fastertransformer",
            value=9.5,
            value_high=15.8,
            source="text, range over three models",
            tolerance=0.05,
            tolerance_reason="the same points, read twice",
            untested="FasterTransformer is not run: the artifact does not run it either, its points are constants there",
        ),
        Claim(
            id="C16",
            section="6.2",
            wording="FastServe's engine beats vLLM even with FCFS, so not all of the gain is scheduling.",
            panel="sharegpt",
            a="fcfs",
            b="vllm",
            value=1.0,
            source="text, no number; notebook points give 1.05",
            tolerance=0.0,
            tolerance_reason="an order",
            statistic="order",
            tiers=("paper",),
            untested="all series run on one engine here, so its speed cannot differ",
        ),
        Claim(
            id="low-load",
            section="Fig. 11, seen in the curves",
            wording="Where nothing queues, preemptive scheduling costs nothing: FastServe and FCFS have equal latency.",
            panel="sharegpt",
            a="fastserve",
            b="fcfs",
            value=1.0,
            source="curves, loads up to half of FCFS's crossing",
            tolerance=0.15,
            tolerance_reason="the notebook's points differ by 12 %, the re-run's by 2 %",
            statistic="equal",
            quantity="low_load_latency",
        ),
    ),
    tiers=("smoke", "sim"),
    hardware="1x A100-40GB (AWS p4d.24xlarge), OPT-13B fp16, batch limit 16",
    minutes={"quick": None, "full": 6.3},
    limitations=(
        "OPT-13B only: the OPT-66B and 175B columns (and the headline of 6.1x) need several GPUs.",
        "Smoke: a 4-layer model with random weights, ShareGPT lengths / 8, Alpaca lengths / 4, batch limit 4 for 16.",
        "Smoke: loads are multiples of measured capacity, the SLO of the measured iteration; only ratios compare.",
        "vLLM-like is vLLM 0.6.1's scheduling on this engine, not vLLM: its absolute speed is not claimed.",
        "Beyond saturation a value depends on the length of the run: 25 turns of the batch, as 400 requests at 16.",
        "FasterTransformer is drawn from the paper only.",
    ),
    y_label="mean latency, ms per output token",
    paper_y_label="mean latency, s per output token",
)
