"""FastServe, Figure 16: schedulers when prompts and answers change their share of the work."""

from ae.figure import At, Claim, Figure, Grid, Panel, Scene, Series, Slo, Workload
from systems.core.variant import Scalar

LIMITS: dict[str, Scalar] = {
    "max_batch": 16,
    "max_tokens": 2048,
    "max_model_len": 2048,
    "page_tokens": 16,
    "device_pages": 911,
    "host_pages": 4587,
}
# Mean prompt and answer: their ratio is the paper's x, their sum 510 to 528 tokens (ShareGPT's is 491).
MEANS = (
    (102, 408), (171, 342), (256, 256), (342, 171), (408, 102), (456, 57), (480, 30), (512, 16), (512, 8), (512, 4),
    (512, 2),
)  # fmt: skip
# Jobs/s that FCFS completes when 2,000 come at once (simulated, seed 1): the unit of load.
CAPACITY = (1.225, 1.426, 1.866, 2.693, 4.149, 6.292, 9.114, 11.533, 13.918, 15.134, 15.396)
QUICK = (0.25, 4, 32, 256)


def at(load: float) -> tuple[At, ...]:
    """Every ratio at `load` times its capacity, with the 400 jobs of the paper's points under overload."""
    return tuple(
        At(
            prompt / answer,
            round(load * capacity, 3),
            400,
            quick=prompt / answer in QUICK,
            workload=Workload("sharegpt", scale=1.0, lengths=(prompt, answer)),
        )
        for (prompt, answer), capacity in zip(MEANS, CAPACITY, strict=True)
    )


def panel(name: str, load: float) -> Panel:
    """One load, all ratios."""
    mean = Workload("sharegpt", scale=1.0)
    return Panel(
        name=name,
        title=f"load {load:g}",
        workload=mean,
        slo=Slo(normalized=0.0, paper_normalized=0.0),
        scene=Scene("opt-13b", "a100-40g", mean, at(load), engine=LIMITS),
        tiers=(),
        log=True,
    )


def claim(name: str, words: str, other: str, value: float) -> Claim:
    """Skip-join's largest gain over one other scheduler."""
    return Claim(
        id=f"C11-{name}",
        section="6.4, Fig. 16",
        wording=f"Over all ratios of prompt to answer, skip-join has up to {value:g} times less latency than {words}.",
        panel="above",
        a="fastserve",
        b=other,
        value=value,
        source="text; no points were published",
        tolerance=0.25,
        tolerance_reason="the paper names neither the load nor the lengths, and both move these ratios",
        quantity="largest_gain",
        tiers=("sim",),
        untested="this ablation is only simulated",
    )


FIGURE = Figure(
    id="fastserve/figure16",
    title="FastServe Figure 16: schedulers and the ratio of prompt to answer",
    caption="Mean end-to-end latency per output token. Load 1: FCFS's capacity at that ratio.",
    metric="normalized_latency_mean",
    panels=(panel("above", 1.1), panel("below", 0.9)),
    series=(
        Series("fcfs", "FCFS", "fastserve/fcfs", color="orange", marker="^"),
        Series("fixed", "fixed priority (shorter prompt)", "fastserve/fixed-priority", color="grey", marker="X"),
        Series("naive", "naive MLFQ", "fastserve/naive-mlfq", color="purple", marker="P"),
        Series("fastserve", "skip-join MLFQ", "fastserve/skip-join", color="vermillion", marker="o"),
    ),
    grids={
        "quick": Grid(loads=(), trials=1, seconds=0.0),
        "full": Grid(loads=(), trials=5, seconds=0.0),
    },
    claims=(
        claim("fcfs", "FCFS", "fcfs", 8.9),
        claim("naive", "naive MLFQ", "naive", 1.87),
        claim("fixed", "fixed priority by prompt length", "fixed", 13.9),
    ),
    tiers=("sim",),
    hardware="1x A100-40GB, OPT-13B fp16",
    minutes={"quick": None, "full": None},
    limitations=(
        "The paper names neither load nor lengths: here both are ShareGPT's stretched to each ratio, 510 to 528 in all.",
        "Two loads are shown, 1.1 and 0.9 of FCFS's capacity at each ratio; the claims are judged at 1.1.",
        "Gains grow with load and jobs (400, as in Figure 11): at load 2 and ratio 0.25, 6.7 over FCFS, 13.3 over fixed.",
        "Naive MLFQ is as good as skip-join here, at every ratio and load tried; why the paper's is not, is unexplained.",
        "Batch limit 16 and memory are Figure 11's.",
        "The estimator is exact: the policy's idea of a prompt's first iteration is what it will take alone.",
    ),
    y_label="mean latency, s per output token",
    y_unit=1.0,
    paper_y_label="mean latency, s per output token",
    x_label="mean prompt length / mean answer length",
    paper_x_label="mean prompt length / mean answer length",
)
