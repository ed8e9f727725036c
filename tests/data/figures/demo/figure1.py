"""A figure on synthetic compute: no torch, seconds long. The harness's own tests and the kill script run it."""

from ae.figure import Claim, Figure, Grid, Panel, Series, Slo, Workload

FIGURE = Figure(
    id="demo/figure1",
    title="Two schedulers on made-up tokens",
    caption="Latency per output token against load, synthetic compute.",
    metric="normalized_latency_mean",
    panels=(
        Panel(
            name="only",
            title="synthetic",
            workload=Workload("sharegpt", scale=4.0),
            slo=Slo(normalized=10.0, paper_normalized=0.3),
            checkpoint="synthetic",
            engine={"max_batch": 8, "device_pages": 512, "host_pages": 512},
        ),
    ),
    series=(
        Series("fcfs", "FCFS", "fastserve/fcfs", color="blue", marker="s"),
        Series("skip-join", "skip-join MLFQ", "fastserve/skip-join", color="vermillion", marker="o"),
    ),
    grids={
        "quick": Grid(loads=(0.2, 0.4), trials=1, seconds=0.5),
        "full": Grid(loads=(0.2, 0.4), trials=3, seconds=0.5),
    },
    claims=(
        Claim(
            id="D1",
            section="-",
            wording="Skip-join sustains at least as much load as FCFS.",
            panel="only",
            a="skip-join",
            b="fcfs",
            value=1.0,
            source="none: a test",
            tolerance=0.5,
            tolerance_reason="made-up tokens",
        ),
    ),
    hardware="any",
    minutes={"quick": None, "full": None},
    limitations=("synthetic compute",),
    y_label="normalized latency (ms/token)",
)
