"""Which model names a server answers to."""

from __future__ import annotations

from pathlib import Path

from systems.core.errors import RequestRejected


class ModelNotFound(RequestRejected):
    """A model this server does not have."""

    status = 404
    kind = "NotFoundError"


class ModelNames:
    """The model as it was given (a checkpoint directory, as vLLM names it), and its last part for short."""

    def __init__(self, model: str) -> None:
        self.names = list(dict.fromkeys((model, Path(model).name)))

    def check(self, name: str | None) -> str:
        """The name to answer with; None means the only model. Raises ModelNotFound."""
        if name is None:
            return self.names[0]
        if name not in self.names:
            raise ModelNotFound(f"The model {name!r} does not exist.", f"This server has: {', '.join(self.names)}.")
        return name
