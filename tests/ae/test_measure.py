"""The verdict on a point depends on what its figure reads off it, and names a remedy that `ae run` has."""

from ae import measure
from ae.load.facts import Facts
from systems.core.record import Record, Tokens

FACTS = Facts(mode="open", url="http://x", model="m", options=(), cpu_share=0.2)


def records(count: int) -> list[Record]:
    at = [i / 10 for i in range(count)]
    return [
        Record(i, t, t + 0.001, t + 0.1, t + 0.5, "ok", 8, 4, 4, (Tokens(t + 0.1, 4, 0.1),)) for i, t in enumerate(at)
    ]


def test_a_p95_needs_more_requests_than_a_mean() -> None:
    assert measure.judge(records(199), FACTS, (), None, "mean").valid
    assert not measure.judge(records(199), FACTS, (), None, "p95").valid
    assert measure.judge(records(220), FACTS, (), None, "p95").valid


def test_the_remedy_for_too_few_requests_is_in_the_figure_file() -> None:
    why = measure.judge(records(5), FACTS, (), None, "mean").why
    assert "`turns`" in why
    assert "--n" not in why


def test_a_setting_that_is_not_in_effect_or_a_busy_machine_makes_it_invalid() -> None:
    assert "ignores a setting" in measure.judge(records(30), FACTS, ("max_batch 8 -> 4",), 0.0, "mean").why
    assert "cores busy" in measure.judge(records(30), FACTS, (), 0.5, "mean").why
