"""Stop strings: found wherever the text is cut, and nothing of them is given out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from systems.core.http.output import Output
from systems.core.http.stops import StopScan
from systems.core.http.text import SyntheticDecoder
from systems.core.wire import NO_TOKEN

letters = st.text("ab", max_size=12)


def _first_complete(text: str, stops: list[str]) -> str | None:
    """The text before the stop string that is complete first; None when there is none."""
    for end in range(len(text) + 1):
        hits = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if hits:
            return text[: min(hits)]
    return None


@given(st.lists(letters, max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_cutting_makes_no_difference(pieces: list[str], stops: list[str]) -> None:
    scan = StopScan(tuple(stops))
    out = ""
    for piece in pieces:
        out += scan.push(piece)
        if scan.hit:
            break
    expected = _first_complete("".join(pieces), stops)
    assert scan.hit == (expected is not None)
    assert out + ("" if scan.hit else scan.flush()) == ("".join(pieces) if expected is None else expected)


def test_the_beginning_of_a_stop_string_waits() -> None:
    scan = StopScan(("END",))
    assert [scan.push("one E"), scan.push("N"), scan.push("x"), scan.push(" END two")] == ["one ", "", "ENx", " "]
    assert scan.hit


def _output(*stops: str) -> Output:
    return Output(1, 3, SyntheticDecoder(), stops)


def test_output_is_cut_at_the_token_that_completes_a_stop_string() -> None:
    output = _output("2 t3")
    assert [output.push(token, None) for token in (1, 2, 3)] == ["t1 ", "t", ""]
    assert (output.finish, output.cut, output.tokens) == ("stop", True, 3)


def test_a_stop_string_in_the_last_token_wins_over_length() -> None:
    output = _output("t7")
    assert output.push(7, "length") == ""
    assert (output.finish, output.cut) == ("stop", False)


def test_what_waited_comes_with_the_end() -> None:
    output = _output("t1 t9")
    assert output.push(1, None) == ""
    assert output.push(NO_TOKEN, "abort") == "t1 "
    assert (output.finish, output.tokens) == ("abort", 1)
