"""The routes of one server, and how an error of any kind becomes OpenAI's error object."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web
from aiohttp.typedefs import Handler

from systems.core.config import EngineConfig
from systems.core.errors import RequestRejected
from systems.core.http.answer import error
from systems.core.http.completions import REQUEST_ID, Completions
from systems.core.http.fields import FieldError
from systems.core.http.link import EngineLink
from systems.core.http.models import ModelNames
from systems.core.http.text import Text

MAX_BODY = 64 << 20  # bytes; a prompt of a million token ids fits

log = logging.getLogger(__name__)


def make_app(config: EngineConfig, link: EngineLink, text: Text) -> web.Application:
    """The application over one engine. The caller runs it with `handler_cancellation`, or clients leave unnoticed."""
    names = ModelNames(config.model)
    about = About(config, names, link)
    app = web.Application(middlewares=[errors], client_max_size=MAX_BODY)
    app.router.add_post("/v1/completions", Completions(config, names, link, text).handle)
    app.router.add_get("/health", about.health)
    app.router.add_get("/v1/models", about.models)
    app.router.add_get("/metrics", about.metrics)
    app.router.add_get("/version", about.version)
    app.router.add_get("/ae/config", about.config)
    app.router.add_post("/ae/reset", about.reset)
    return app


class About:
    """Everything but completions."""

    def __init__(self, config: EngineConfig, names: ModelNames, link: EngineLink) -> None:
        self._config = config
        self._names = names
        self._link = link
        self._created = int(time.time())

    async def health(self, _: web.Request) -> web.Response:
        """200 when requests can be served, else 503 and why not."""
        if self._link.died is not None:
            return web.json_response({"status": "dead", "reason": self._link.died.reason}, status=503)
        if self._link.facts is None:
            return web.json_response({"status": "loading"}, status=503)
        return web.json_response({"status": "ok"})

    async def models(self, _: web.Request) -> web.Response:
        """OpenAI's list of models, one entry per name."""
        length = self._link.facts.max_model_len if self._link.facts else self._config.max_model_len
        entry = {"object": "model", "created": self._created, "owned_by": "ae", "root": self._config.model}
        data = [{"id": name, **entry, "max_model_len": length} for name in self._names.names]
        return web.json_response({"object": "list", "data": data})

    async def metrics(self, _: web.Request) -> web.Response:
        """Prometheus text, format 0.0.4."""
        page = self._link.metrics.text(self._names.names[0], self._link.live)
        return web.Response(text=page, content_type="text/plain")

    async def version(self, _: web.Request) -> web.Response:
        """The version of the installed distribution."""
        try:
            return web.json_response({"version": version("ae")})
        except PackageNotFoundError:
            return web.json_response({"version": "unknown"})

    async def config(self, _: web.Request) -> web.Response:
        """The configuration the engine was built with, and the facts it found out."""
        facts = asdict(self._link.facts) if self._link.facts else None
        return web.json_response({"config": asdict(self._config), "facts": facts})

    async def reset(self, http: web.Request) -> web.Response:
        """A fresh event log and zeroed counters between two points; 409 when requests are live."""
        body = await http.read()
        try:
            path = json.loads(body).get("event_log", "") if body else ""
        except (ValueError, AttributeError):
            path = None
        if not isinstance(path, str):
            raise FieldError("event_log", "The body is not a JSON object with a string 'event_log'.")
        done = await self._link.reset(path)
        if not done.ok:
            return _error(409, "conflict_error", f"Not reset: {done.reason}")
        return web.json_response({"reset": True, "event_log": path})


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure with OpenAI's error object, and give the client its request id back."""
    try:
        response = await handler(request)
    except FieldError as wrong:
        response = _error(wrong.status, wrong.kind, str(wrong), wrong.param)
    except RequestRejected as refused:
        response = _error(refused.status, refused.kind, str(refused))
    except web.HTTPException as known:
        if known.status < 400:
            raise
        response = _error(known.status, "invalid_request_error", f"{request.method} {request.path}: {known.reason}.")
    except ConnectionResetError:
        raise  # the client went away in mid-write; there is nobody to answer
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        response = _error(500, "server_error", "The server failed on this request; its log has the reason.")
    if REQUEST_ID in request.headers and not response.prepared:
        response.headers[REQUEST_ID] = request.headers[REQUEST_ID]
    return response


def _error(status: int, kind: str, message: str, param: str | None = None) -> web.Response:
    return web.Response(body=error(status, kind, message, param), status=status, content_type="application/json")
