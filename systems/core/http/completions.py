"""POST /v1/completions: check, tokenise, submit, and hand tokens back as one body or as server-sent events."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from time import monotonic

from aiohttp import web

from systems.core.config import EngineConfig
from systems.core.errors import OutOfMemory, PromptTooLong, QueueFull, RequestRejected
from systems.core.http.answer import DONE, Answer, Choice, Usage, error_event
from systems.core.http.fields import Completion, FieldError, parse
from systems.core.http.link import EngineLink
from systems.core.http.live import Item, Mailbox
from systems.core.http.models import ModelNames
from systems.core.http.output import Output
from systems.core.http.text import Text
from systems.core.request import Request, Sampling
from systems.core.wire import EngineFacts

MAX_PROMPTS = 256
REQUEST_ID = "X-Request-Id"
_SSE = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request on its way: what was asked, its outputs, and where their tokens arrive."""

    asked: Completion
    outputs: list[Output]
    mailbox: Mailbox
    answer: Answer

    @property
    def running(self) -> bool:
        """Whether any output goes on."""
        return any(output.finish is None for output in self.outputs)

    @property
    def usage(self) -> Usage:
        """Tokens of all choices, so far."""
        return Usage(sum(o.prompt for o in self.outputs), sum(o.tokens for o in self.outputs))


class Completions:
    """The route, over one engine."""

    def __init__(self, config: EngineConfig, names: ModelNames, link: EngineLink, text: Text) -> None:
        self._config = config
        self._names = names
        self._link = link
        self._text = text

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Serve one request. A client that goes away cancels this task, and with it the engine's work."""
        asked = parse(await http.read(), MAX_PROMPTS)
        call = self._open(asked, http.headers.get(REQUEST_ID))
        try:
            return await (self._stream(http, call) if asked.stream else self._whole(call))
        finally:
            for output in call.outputs:
                if output.finish is None:
                    self._link.abort(output.request)

    # -- before ------------------------------------------------------------------------------------------

    def _open(self, asked: Completion, ident: str | None) -> Call:
        """Check what only the server knows, and submit. Raises RequestRejected."""
        began = monotonic()
        model = self._names.check(asked.model)
        facts = self._facts()
        prompts = [self._prompt(p, asked, facts) for p in asked.prompts]
        if self._link.live + len(prompts) > self._config.max_queue:
            raise QueueFull(
                f"{self._link.live} requests are live, the limit is {self._config.max_queue}.", "Try later."
            )
        mailbox = Mailbox(eager=asked.stream or bool(asked.stop))
        outputs = []
        for choice, prompt in enumerate(prompts):
            request = self._request(prompt, asked)
            self._link.submit(request, mailbox, choice, began)
            outputs.append(Output(request.id, len(prompt), self._text.decoder(), asked.stop))
        answer = Answer(f"cmpl-{ident or uuid.uuid4().hex}", int(time.time()), model)
        return Call(asked, outputs, mailbox, answer)

    def _facts(self) -> EngineFacts:
        if self._link.died is not None:
            raise RequestRejected(f"The engine died: {self._link.died.reason}")
        if self._link.facts is None:
            raise OutOfMemory("The model is still being loaded.", "Wait until /health says ok.")
        return self._link.facts

    def _prompt(self, prompt: str | tuple[int, ...], asked: Completion, facts: EngineFacts) -> tuple[int, ...]:
        tokens = self._text.encode(prompt) if isinstance(prompt, str) else prompt
        if (highest := max(tokens, default=-1)) >= facts.vocab:
            raise FieldError(
                "prompt", f"The model has no token {highest}.", f"Token ids go from 0 to {facts.vocab - 1}."
            )
        if not tokens:
            raise FieldError("prompt", "A prompt has no tokens.", "Send a text with at least one.")
        if len(tokens) + asked.max_tokens > facts.max_model_len:
            raise PromptTooLong(
                f"This model's maximum context length is {facts.max_model_len} tokens; "
                f"{len(tokens)} prompt tokens and {asked.max_tokens} max_tokens were asked for.",
                "Shorten the prompt or lower max_tokens.",
            )
        return tokens

    def _request(self, prompt: tuple[int, ...], asked: Completion) -> Request:
        ident = self._link.next_id()
        # without a seed of its own, a request's draws still follow from the server's seed and its order
        seed = asked.seed if asked.seed is not None else (self._config.seed << 32) + ident
        sampling = Sampling(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=seed,
            ignore_eos=asked.ignore_eos,
            stop=asked.stop,
            stop_tokens=asked.stop_tokens,
        )
        return Request(id=ident, prompt=prompt, sampling=sampling, priority=asked.priority, slo=asked.slo)

    # -- after -------------------------------------------------------------------------------------------

    async def _whole(self, call: Call) -> web.Response:
        texts: list[list[str]] = [[] for _ in call.outputs]
        while call.running:
            for item in await call.mailbox.take():
                texts[item.choice].append(self._push(call, item))
        choices = [Choice("".join(t), o.finish or "") for t, o in zip(texts, call.outputs, strict=True)]
        body = call.answer.whole(choices, call.usage)
        return web.Response(body=body, content_type="application/json")

    async def _stream(self, http: web.Request, call: Call) -> web.StreamResponse:
        """Headers go out with the first tokens, so that a refusal still has its own status."""
        items = await call.mailbox.take()
        ident = http.headers.get(REQUEST_ID)
        response = web.StreamResponse(headers={**_SSE, REQUEST_ID: ident} if ident else _SSE)
        await response.prepare(http)
        try:
            await response.write(self._events(call, items))
            while call.running:
                await response.write(self._events(call, await call.mailbox.take()))
        except RequestRejected as refused:
            await response.write(error_event(refused.status, refused.kind, str(refused)) + DONE)
        else:
            last = call.answer.usage_event(call.usage) if call.asked.include_usage else ""
            await response.write(last.encode() + DONE)
        await response.write_eof()
        return response

    def _events(self, call: Call, items: list[Item]) -> bytes:
        """The events of one hand-over, one per token, to be written at once."""
        events = []
        for item in items:
            output = call.outputs[item.choice]
            if output.finish is not None:
                continue  # tokens that were on their way when a stop string was found
            text = self._push(call, item)
            events.append(call.answer.event(item.choice, text, output.finish, _usage(call.asked, output)))
        return "".join(events).encode()

    def _push(self, call: Call, item: Item) -> str:
        output = call.outputs[item.choice]
        if output.finish is not None:
            return ""
        text = output.push(item.token, item.finish)
        if output.cut:
            self._link.stopped(output.request)
        return text


def _usage(asked: Completion, output: Output) -> str:
    if asked.continuous_usage:
        return Usage(output.prompt, output.tokens).json()
    return "null" if asked.include_usage else ""
