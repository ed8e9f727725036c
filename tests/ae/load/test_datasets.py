from __future__ import annotations

import json
from pathlib import Path

import pytest

from ae.load import datasets
from ae.load.workload import Filter
from systems.core.errors import UsageError


def words(text: str) -> list[int]:
    return [len(word) for word in text.split()]


def characters(text: str) -> list[int]:
    return list(text.encode())


def turns(*texts: str) -> dict[str, object]:
    return {"id": "x", "conversations": [{"from": "human", "value": text} for text in texts]}


def test_sharegpt_takes_the_first_two_turns_and_filters_with_or(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    rows = [
        turns("a b c d e", "f g h i", "ignored third turn"),
        turns("one turn only"),
        turns(),
        turns("a b c", "long enough answer here"),  # prompt under 4: dropped although the answer is long
        turns("long enough prompt here", "a b"),
        turns("p " * 1025, "a b c d"),
        turns("p " * 1024, "a " * 1025),
        turns("p " * 1024, "a " * 1024),
    ]
    path.write_text(json.dumps(rows))
    pairs = datasets.sharegpt(path, words).lengths
    assert pairs.prompt.tolist() == [5, 1024]
    assert pairs.output.tolist() == [4, 1024]


def test_alpaca_joins_instruction_and_input_without_a_separator(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps([{"instruction": "Say it.", "input": "Now", "output": "It is said"}]))
    pairs = datasets.alpaca(path, characters, Filter()).lengths
    assert (pairs.prompt.tolist(), pairs.output.tolist()) == ([len("Say it.Now")], [len("It is said")])


def test_azure_csv(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,109\n"
    )
    log = datasets.azure(path)
    assert log.lengths.prompt.tolist() == [374, 396]
    assert log.lengths.output.tolist() == [44, 109]
    assert log.at.tolist() == pytest.approx([0, 4.314579], abs=1e-6)


def test_burstgpt_csv_drops_failed_rows(tmp_path: Path) -> None:
    path = tmp_path / "burst.csv"
    path.write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,10,0,10,API log\n118,GPT-4,1087,230,1317,API log\n"
    )
    log = datasets.burstgpt(path)
    assert log.lengths.output.tolist() == [18, 230]
    assert log.at.tolist() == [0, 113]


def test_mooncake_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "mooncake.jsonl"
    rows = [{"timestamp": t, "input_length": 6758, "output_length": o, "hash_ids": [1]} for t, o in ((0, 5), (3000, 9))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = datasets.mooncake(path)
    assert (log.at.tolist(), log.lengths.output.tolist()) == ([0, 3], [5, 9])


@pytest.mark.parametrize(("text", "match"), [("[", "not JSON"), ("[]", "no usable pair")])
def test_a_bad_file_is_named(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=match):
        datasets.sharegpt(path, words)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*nothing\.csv"):
        datasets.azure(tmp_path / "nothing.csv")
