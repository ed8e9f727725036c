"""The front end over the real engine process: real loop and policies on synthetic compute, and one tiny model."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from systems.core.replay import replay
from tests.core.http.under_test import ENGINE, Server, eventually, serving, start


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(ENGINE, variant="fastserve", device_pages=8, host_pages=64, max_batch=4) as running:
        yield running


def _idle(server: Server) -> bool:
    return eventually(lambda: server.metric("ae:num_requests_live") == 0)


def test_client_streams_with_exact_usage(server: Server) -> None:
    options: Any = {"include_usage": True}
    with server.client() as client:
        chunks = list(
            client.completions.create(
                model="synthetic", prompt=[1, 2, 3], max_tokens=40, stream=True, stream_options=options
            )
        )
    assert sum(bool(c.choices and c.choices[0].text) for c in chunks) == 40
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 40)


def test_client_whole(server: Server) -> None:
    with server.client() as client:
        answer = client.completions.create(model="synthetic", prompt="a b c", max_tokens=9)
    assert answer.choices[0].finish_reason == "length"
    assert len(answer.choices[0].text.split()) == 9


def test_stop_tokens_end_a_request(server: Server) -> None:
    status, answer = server.complete(prompt="a b c", max_tokens=9, stop_token_ids=list(range(512)))
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 1


def test_more_than_the_memory_holds_is_refused(server: Server) -> None:
    """8 pages of 16 tokens hold 128; the context window would allow 256."""
    with server.client() as client, pytest.raises(openai.BadRequestError, match="holds 128 tokens"):
        client.completions.create(model="synthetic", prompt=[1] * 100, max_tokens=29)
    assert server.complete(prompt=[1] * 100, max_tokens=28)[0] == 200


def test_sixty_four_clients_that_start_and_leave(server: Server, tmp_path: Path) -> None:
    """Everybody who stays gets every token, what is left behind is freed, and the log replays to equal decisions."""
    assert _idle(server)
    log = tmp_path / "events.jsonl"
    assert eventually(lambda: server.post("/ae/reset", {"event_log": str(log)})[0] == 200)

    def one(number: int) -> int | None:
        chance = random.Random(number)
        tokens = chance.randrange(1, 60)
        with server.client() as client:
            stream = client.completions.create(
                model="synthetic", prompt=[1] * chance.randrange(1, 60), max_tokens=tokens, stream=True
            )
            leave = chance.randrange(tokens) if number % 3 == 0 else None
            got = 0
            for chunk in stream:
                got += len(chunk.choices[0].text.split())
                if leave is not None and got > leave:
                    stream.close()
                    return None
        return got - tokens

    with ThreadPoolExecutor(16) as pool:
        missing = list(pool.map(one, range(64)))
    assert {m for m in missing if m is not None} == {0}
    assert _idle(server)
    assert eventually(lambda: server.metric("vllm:kv_cache_usage_perc") == 0)
    assert server.metric("vllm:num_preemptions_total") > 0, "memory was short enough to preempt"
    assert server.metric("ae:engine_generation_tokens_total") >= server.metric("vllm:generation_tokens_total") > 0
    assert eventually(lambda: server.post("/ae/reset", {"event_log": ""})[0] == 200)
    decisions = list(replay(log))
    assert len(decisions) > 64
    assert all(decision.equal for decision in decisions)


def test_slo_and_priority_reach_the_policy(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    assert eventually(lambda: server.post("/ae/reset", {"event_log": str(log)})[0] == 200)
    slo = {"name": "chat", "ttft_ms": 250, "tpot_ms": 12.5}
    assert server.complete(prompt=[1, 2], max_tokens=2, priority=-3, ae={"slo": slo})[0] == 200
    assert eventually(lambda: server.post("/ae/reset", {"event_log": ""})[0] == 200)
    rows = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    (arrived,) = (row[1] for row in rows if row[1] and row[1][0] == "arrived")
    assert -3 in arrived
    assert ["chat", 250_000_000, 12_500_000] in arrived
    assert 2 in arrived, "the prompt's length"


def test_a_log_that_cannot_be_written(server: Server) -> None:
    assert _idle(server)
    status, answer = server.post("/ae/reset", {"event_log": "/nowhere/at/all.jsonl"})
    assert status == 409
    assert "/nowhere/at/all.jsonl" in answer["error"]["message"]


def test_facts_of_the_engine(server: Server) -> None:
    applied = json.loads(server.get("/ae/config")[1])
    assert applied["config"]["variant"] == "fastserve"
    assert applied["facts"]["device_pages"] == 8
    assert applied["facts"]["pid"] == server.engine_pid


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ({"variant": "fastserve/none"}, 2, "Variants:"),
        ({"settings": {"no_such": 1}}, 2, "no_such"),
        ({"model": "/nowhere"}, 2, "no model at '/nowhere'"),
        ({"profile": "/nowhere.json"}, 2, "/nowhere.json"),
        ({"event_log": "/nowhere/log"}, 2, "/nowhere/log"),
    ],
)
def test_what_cannot_be_built_ends_with_its_reason(
    tmp_path: Path, config: dict[str, object], code: int, words: str
) -> None:
    exit_code, err = start(tmp_path, ENGINE, **config).wait()
    assert exit_code == code
    assert words in err
    assert "Traceback" not in err


# -- one tiny model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from systems.core.torch import checkpoint

    model = checkpoint.ensure("t-opt-smoke", tmp_path_factory.mktemp("models"))
    with serving(ENGINE, model=str(model), variant="fastserve/fcfs") as running:
        yield running


def test_tiny_model_streams_the_text_it_answers_whole(tiny: Server) -> None:
    with tiny.client() as client:
        name = client.models.list().data[1].id
        assert name == "t-opt-smoke"
        prompt = "the quick brown fox"
        whole = client.completions.create(model=name, prompt=prompt, max_tokens=40, temperature=0)
        parts = list(client.completions.create(model=name, prompt=prompt, max_tokens=40, temperature=0, stream=True))
        assert "".join(p.choices[0].text for p in parts) == whole.choices[0].text
        assert len(set(whole.choices[0].text)) > 5

        middle = whole.choices[0].text[10:14]
        cut = client.completions.create(model=name, prompt=prompt, max_tokens=40, temperature=0, stop=[middle])
    assert cut.choices[0].text == whole.choices[0].text.partition(middle)[0]
    assert cut.choices[0].finish_reason == "stop"


def test_tiny_model_draws_by_seed(tiny: Server) -> None:
    def draw(seed: int) -> str:
        fields = {"prompt": "once upon", "max_tokens": 20, "temperature": 1.0, "ignore_eos": True, "seed": seed}
        return str(tiny.complete(**fields)[1]["choices"][0]["text"])

    assert draw(1) == draw(1) != draw(2)
