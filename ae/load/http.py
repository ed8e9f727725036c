"""The requests the load generator sends: connection settings, bodies, and what a foreign server accepts."""

from __future__ import annotations

import itertools
import json
import resource
from typing import TYPE_CHECKING, Any

import aiohttp

from ae.load.facts import OPTIONS
from ae.load.stream import Stream, error_text
from systems.core.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ae.load.schedule import Planned

PROBE_TOKENS = 3
REFUSED = (400, 422)  # the statuses with which servers refuse a field
# Servers under uvicorn close idle connections after 5 s; a request sent into that moment would be lost.
KEEP_ALIVE = 4.0


def session(timeout: float) -> aiohttp.ClientSession:
    """Open a session with a keep-alive pool without a limit; `timeout` seconds for a whole answer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=None)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout),
        headers={"Content-Type": "application/json", "Accept": "text/event-stream"},
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def body(model: str, prompt: Sequence[int], output: int, options: Sequence[str]) -> bytes:
    """Ask for a greedy streaming completion of exactly `output` tokens, with the `options` of `OPTIONS` that are named."""
    fields: dict[str, Any] = {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": output,
        "temperature": 0,
        "stream": True,
    }
    if "ignore_eos" in options:
        fields["ignore_eos"] = True
    stream = {name: True for name in ("include_usage", "continuous_usage_stats") if name in options}
    if stream:
        fields["stream_options"] = stream
    return json.dumps(fields, separators=(",", ":")).encode()


async def first_model(web: aiohttp.ClientSession, url: str) -> str:
    """Ask for the id of the first model that `url` serves. Raises ServerFailed."""
    try:
        async with web.get(f"{url}/v1/models") as response:
            answer = await response.json(content_type=None)
            return str(answer["data"][0]["id"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ServerFailed(
            f"{url}/v1/models did not name a model ({type(error).__name__}: {error}).",
            "Is the server up? Name the model with --model.",
        ) from error


async def accepted(web: aiohttp.ClientSession, url: str, model: str, planned: Planned) -> tuple[str, ...]:
    """Find as many options as the server accepts together, by asking for a few tokens. Raises ServerFailed."""
    for size in range(len(OPTIONS), -1, -1):
        for options in itertools.combinations(OPTIONS, size):
            status, stream = await _ask(web, url, body(model, planned.prompt[:4], PROBE_TOKENS, options))
            if status == 200 and not stream.error:
                return options
            if status not in REFUSED:
                raise ServerFailed(f"{url}/v1/completions {_said(status)}: {stream.error}", _remedy(status))
    raise ServerFailed(f"{url}/v1/completions refuses even a plain request: {stream.error}", "Is it a text model?")


def _said(status: int) -> str:
    # An error in the stream has no status of its own: the headers were sent before it.
    return "began to answer and then failed" if status == 200 else f"answered {status}"


def _remedy(status: int) -> str:
    if status == 200:
        return "Are the prompt's token ids in the model's vocabulary (--vocab)? Otherwise read the server's log."
    return "Name one of its models with --model." if status == 404 else "Read the server's log."


async def _ask(web: aiohttp.ClientSession, url: str, data: bytes) -> tuple[int, Stream]:
    stream = Stream()
    try:
        async with web.post(f"{url}/v1/completions", data=data) as response:
            if response.status != 200:
                stream.error = await reason(response)
                return response.status, stream
            while chunk := await response.content.readany():
                stream.feed(chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ServerFailed(f"{url} did not answer ({type(error).__name__}: {error}).", "Is the server up?") from error
    return 200, stream


async def reason(response: aiohttp.ClientResponse) -> str:
    """Say in short what a refused request's body says."""
    text = await response.text(errors="replace")
    try:
        return error_text(json.loads(text))
    except ValueError:
        return text[:300]
