"""What OpenAI's client makes of the less usual answers; the usual ones are in test_http_server.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.core.http.scripted_engine import BREAK, REFUSE
from tests.core.http.under_test import PATIENCE_S, Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(max_queue=6) as running:
        yield running


@pytest.mark.parametrize(
    ("fields", "error", "status"),
    [
        ({"prompt": [1] * 300}, openai.BadRequestError, 400),
        ({"prompt": "t1", "logprobs": 3}, openai.BadRequestError, 400),
        ({"prompt": "t1", "model": "gpt"}, openai.NotFoundError, 404),
        ({"prompt": [[1]] * 7}, openai.RateLimitError, 429),
        ({"prompt": [REFUSE]}, openai.InternalServerError, 503),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_the_same_error_whole_and_streamed(
    server: Server, fields: dict[str, Any], error: type[openai.APIStatusError], status: int, stream: bool
) -> None:
    with server.client() as client, pytest.raises(error) as refused:
        client.completions.create(**{"model": "synthetic", **fields}, stream=stream)
    assert refused.value.status_code == status
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["message"]
    assert refused.value.code == str(status)


def test_a_failure_is_an_error_whole_and_keeps_what_came_when_streamed(server: Server) -> None:
    with server.client() as client:
        with pytest.raises(openai.InternalServerError, match="told to break"):
            client.completions.create(model="synthetic", prompt=[BREAK])
        texts = []
        with pytest.raises(openai.APIError, match="told to break"):  # noqa: PT012 - what came before it is the point
            for chunk in client.completions.create(model="synthetic", prompt=[BREAK], stream=True):
                texts.append(chunk.choices[0].text)  # noqa: PERF401 - a comprehension would lose them
    assert texts == ["t904 ", "t904 "]


def test_fields_that_only_we_know_go_in_extra_body(server: Server) -> None:
    extra = {"ignore_eos": True, "stop_token_ids": [6], "ae": {"slo": {"name": "chat", "ttft_ms": 250}}}
    with server.client() as client:
        with pytest.raises(openai.BadRequestError, match="best_off"):
            client.completions.create(model="synthetic", prompt=[5], extra_body={"best_off": 1})
        answer = client.completions.create(model="synthetic", prompt=[5, 7], max_tokens=3, extra_body=extra)
    assert answer.choices[0].text == "t5 t7 t5 "


def test_usage_in_every_chunk(server: Server) -> None:
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    with server.client() as client:
        chunks = list(
            client.completions.create(
                model="synthetic", prompt=[5, 6], max_tokens=3, stream=True, stream_options=options
            )
        )
    assert [c.usage and (c.usage.prompt_tokens, c.usage.completion_tokens) for c in chunks] == [
        (2, 1), (2, 2), (2, 3), (2, 3),
    ]  # fmt: skip


def test_several_prompts_are_choices_in_order(server: Server) -> None:
    with server.client() as client:
        answer = client.completions.create(model="synthetic", prompt=["t1", "t2 t3"], max_tokens=2)
    assert [(c.index, c.text) for c in answer.choices] == [(0, "t1 t1 "), (1, "t2 t3 ")]


def test_the_client_that_is_not_blocking(server: Server) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        stream = await client.completions.create(model="synthetic", prompt=[number, 7], max_tokens=6, stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream])

    async def all_at_once() -> list[str]:
        url = f"{server.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=PATIENCE_S) as client:
            return await asyncio.gather(*(one(client, number) for number in range(5)))

    assert asyncio.run(all_at_once()) == [f"t{number} t7 " * 3 for number in range(5)]


def test_what_is_not_there_says_so(server: Server) -> None:
    with server.client() as client, pytest.raises(openai.NotFoundError, match="/v1/chat/completions"):
        client.chat.completions.create(model="synthetic", messages=[{"role": "user", "content": "t1"}])
