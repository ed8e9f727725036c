"""One server over real HTTP: OpenAI's client, every refusal, and clients that leave."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.core.http.scripted_engine import BREAK, HANG, OOM, REFUSE
from tests.core.http.under_test import Server, eventually, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(max_queue=6) as running:
        yield running


def _idle(server: Server) -> bool:
    return eventually(lambda: server.metric("ae:num_requests_live") == 0)


def _events(server: Server, **fields: object) -> list[str]:
    """The events of a stream, as sent, without their `data: `."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/completions", json.dumps({"stream": True, **fields}))
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    body = answer.read().decode()
    connection.close()
    assert body.endswith("\n\n")
    return [event.removeprefix("data: ") for event in body[:-2].split("\n\n")]


# -- the openai client ---------------------------------------------------------------------------------------


def test_client_whole(server: Server) -> None:
    with server.client() as client:
        answer = client.completions.create(model="synthetic", prompt="t1 t2 t3", max_tokens=4, user="me", seed=1)
    assert answer.id.startswith("cmpl-")
    assert answer.choices[0].text == "t1 t2 t3 t1 "
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 4, 7)


def test_client_stream_with_usage(server: Server) -> None:
    options: Any = {"include_usage": True}
    with (
        server.client() as client,
        client.completions.create(
            model="synthetic",
            prompt=[5, 6],
            max_tokens=5,
            stream=True,
            stream_options=options,
        ) as stream,
    ):
        chunks = list(stream)
    assert [c.choices[0].text for c in chunks[:-1]] == ["t5 ", "t6 ", "t5 ", "t6 ", "t5 "]
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * 4 + ["length"]
    assert [c.usage for c in chunks[:-1]] == [None] * 5
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert len({c.id for c in chunks}) == 1


def test_client_lists_models(server: Server) -> None:
    with server.client() as client:
        assert [m.id for m in client.models.list()] == ["synthetic"]


def test_client_errors(server: Server) -> None:
    with server.client() as client:
        with pytest.raises(openai.BadRequestError, match="best_of"):
            client.completions.create(model="synthetic", prompt="t1", best_of=2)
        with pytest.raises(openai.NotFoundError, match="'gpt' does not exist"):
            client.completions.create(model="gpt", prompt="t1")
        with pytest.raises(openai.BadRequestError, match="maximum context length is 256"):
            client.completions.create(model="synthetic", prompt=[1] * 250, max_tokens=7)
        with pytest.raises(openai.InternalServerError, match="told to refuse") as refused:
            client.completions.create(model="synthetic", prompt=[REFUSE])
        assert refused.value.status_code == 503
        with pytest.raises(openai.APIError, match="told to break"):
            list(client.completions.create(model="synthetic", prompt=[BREAK], stream=True))


# -- the wire --------------------------------------------------------------------------------------------------


def test_stream_without_usage_has_none(server: Server) -> None:
    *events, last = _events(server, prompt=[5], max_tokens=3)
    assert last == "[DONE]"
    assert len(events) == 3
    assert all("usage" not in json.loads(e) for e in events)


def test_continuous_usage_counts_every_token(server: Server) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    *events, _ = _events(server, prompt=[5, 6], max_tokens=4, stream_options=options)
    counts = [json.loads(e)["usage"]["completion_tokens"] for e in events]
    assert counts == [1, 2, 3, 4, 4]


def test_several_prompts_are_several_choices(server: Server) -> None:
    status, answer = server.complete(prompt=["t1", "t2", "t3 t4"], max_tokens=2)
    assert status == 200
    assert [c["text"] for c in answer["choices"]] == ["t1 t1 ", "t2 t2 ", "t3 t4 "]
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2]
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}


def test_several_prompts_streamed(server: Server) -> None:
    *events, _ = _events(server, prompt=[[1], [2, 3]], max_tokens=3)
    texts = ["", ""]
    for event in map(json.loads, events):
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == ["t1 t1 t1 ", "t2 t3 t2 "]


@pytest.mark.parametrize("stream", [False, True])
def test_stop_string_across_tokens(server: Server, stream: bool) -> None:
    fields = {"prompt": [1, 2, 3], "max_tokens": 50, "stop": ["nothing", "2 t3"]}
    before = server.metric("vllm:request_success_total", 'finished_reason="stop"')
    if stream:
        options = {"include_usage": True}
        *chunks, usage = map(json.loads, _events(server, **fields, stream_options=options)[:-1])
        text = "".join(c["choices"][0]["text"] for c in chunks)
        choice = {**chunks[-1]["choices"][0], "text": text}
        tokens = usage["usage"]["completion_tokens"]
    else:
        answer = server.complete(**fields)[1]
        choice, tokens = answer["choices"][0], answer["usage"]["completion_tokens"]
    assert (choice["text"], choice["finish_reason"], tokens) == ("t1 t", "stop", 3)
    assert _idle(server)
    assert server.metric("vllm:request_success_total", 'finished_reason="stop"') == before + 1


def test_request_id_comes_back(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for fields in ({"prompt": [1]}, {"prompt": [1], "stream": True}, {"prompt": ""}):
        connection.request("POST", "/v1/completions", json.dumps(fields), {"X-Request-Id": "mine-7"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.headers["X-Request-Id"] == "mine-7"
        assert (b'"cmpl-mine-7"' in body) == (answer.status == 200)
    connection.close()


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"prompt": [1], "best_of": 3}, 400, "invalid_request_error", "best_of"),
        ({"prompt": [1000]}, 400, "invalid_request_error", "no token 1000"),
        ({"prompt": "t1000"}, 400, "invalid_request_error", "no token 1000"),
        ({"prompt": [1] * 300}, 400, "invalid_request_error", "maximum context length"),
        ({"prompt": [1], "model": "other"}, 404, "NotFoundError", "synthetic"),
        ({"prompt": [[1]] * 7}, 429, "rate_limit_error", "limit is 6"),
        ({"prompt": [REFUSE]}, 503, "server_error", "told to refuse"),
        ({"prompt": [REFUSE], "stream": True}, 503, "server_error", "told to refuse"),
        ({"prompt": [BREAK]}, 500, "server_error", "told to break"),
        ({"prompt": [OOM]}, 503, "server_error", "out of memory"),
    ],
)
def test_refusals(server: Server, fields: dict[str, object], status: int, kind: str, words: str) -> None:
    got, answer = server.complete(**fields)
    assert got == status
    assert answer["error"]["type"] == kind
    assert answer["error"]["code"] == status
    assert words in answer["error"]["message"]
    assert server.complete(prompt=[1], max_tokens=1)[0] == 200, "the engine lives on"


def test_error_after_the_first_tokens_is_an_event(server: Server) -> None:
    events = _events(server, prompt=[BREAK], max_tokens=9)
    assert [json.loads(e)["choices"][0]["text"] for e in events[:2]] == ["t904 ", "t904 "]
    assert "told to break" in json.loads(events[2])["error"]["message"]
    assert events[3:] == ["[DONE]"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("GET", "/v1/completions", 405)])
def test_wrong_routes(server: Server, method: str, path: str, status: int) -> None:
    got, text = server.get(path)
    assert got == status
    assert method in json.loads(text)["error"]["message"]


def test_body_that_is_no_json(server: Server) -> None:
    status, answer = server.post("/v1/completions", b"{oops")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


# -- clients that leave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{"prompt": [HANG]}, {"prompt": [HANG], "stream": True}, {"prompt": [[HANG], [HANG]]}]
)
def test_leaving_before_the_first_token_aborts(server: Server, fields: dict[str, object]) -> None:
    assert _idle(server)
    before = server.metric("vllm:num_preemptions_total")
    body = json.dumps(fields).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        count = len(fields["prompt"]) if isinstance(fields["prompt"][0], list) else 1  # type: ignore[arg-type,index]
        assert eventually(lambda: server.metric("ae:num_requests_live") == count)
    assert _idle(server)
    assert eventually(lambda: server.metric("vllm:num_preemptions_total") == before + count), "the engine was told"


def test_leaving_a_stream_aborts(server: Server) -> None:
    assert _idle(server)
    before = server.metric("vllm:request_success_total", 'finished_reason="abort"')
    with server.client() as client:
        stream = client.completions.create(model="synthetic", prompt=[1], max_tokens=255, stream=True)
        next(iter(stream))
        stream.close()
    assert _idle(server)
    assert server.metric("vllm:request_success_total", 'finished_reason="abort"') == before + 1


def test_many_at_once_keep_their_order(server: Server) -> None:
    def one(number: int) -> str:
        choices = (json.loads(e)["choices"][0] for e in _events(server, prompt=[number, 7], max_tokens=40)[:-1])
        return "".join(c["text"] for c in choices)

    with ThreadPoolExecutor(6) as pool:
        for number, text in enumerate(pool.map(one, range(6))):
            assert text == f"t{number} t7 " * 20


# -- everything else ---------------------------------------------------------------------------------------------


def test_config_round_trip(server: Server) -> None:
    applied = json.loads(server.get("/ae/config")[1])
    assert applied["config"]["max_queue"] == 6
    assert applied["config"]["max_model_len"] == 256
    assert applied["facts"]["device_pages"] == 10
    assert applied["facts"]["compute"] == {"kind": "scripted"}


def test_version(server: Server) -> None:
    assert json.loads(server.get("/version")[1])["version"]


def test_reset(server: Server) -> None:
    assert server.complete(prompt=[1], max_tokens=3)[0] == 200
    assert server.metric("vllm:generation_tokens_total") >= 3
    assert server.post("/ae/reset", {"event_log": "refuse"})[0] == 409
    assert server.post("/ae/reset", {"event_log": 5})[0] == 400
    assert server.post("/ae/reset", b"[]")[0] == 400
    assert server.post("/ae/reset", {"event_log": ""})[0] == 200
    assert server.metric("vllm:generation_tokens_total") == 0


def test_reset_waits_for_nobody(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.complete, prompt=[1], max_tokens=250)
        assert eventually(lambda: server.metric("ae:num_requests_live") == 1)
        status, answer = server.post("/ae/reset", {"event_log": ""})
        assert status == 409
        assert "live" in answer["error"]["message"]
        assert running.result()[0] == 200
