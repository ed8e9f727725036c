"""`TorchCompute`: the executor that really runs a model."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import numpy as np
import torch

from systems.core.compute import Step
from systems.core.errors import BadRequest, PrerequisiteError, UsageError
from systems.core.hardware import cpu_name
from systems.core.plan import Pool
from systems.core.torch.arena import Arena
from systems.core.torch.attention import CpuPaged, Paged
from systems.core.torch.batch import Batches, Failure, Limits, Rows
from systems.core.torch.fast import short_model
from systems.core.torch.model import Model, Path
from systems.core.torch.sampler import sample
from systems.core.torch.shape import Shape

if TYPE_CHECKING:
    from systems.core.config import EngineConfig
    from systems.core.memory.layout import KVLayout
    from systems.core.plan import Iteration, Span, Transfer
    from systems.core.request import Request

_PACKAGES = ("torch", "transformers", "numba", "numpy")


class TorchCompute:
    """Implements `Compute`. `step` and `admit` belong to one thread; `copy` may run beside them in another."""

    def __init__(self, config: EngineConfig, model: Model) -> None:
        self.config, self.shape = config, model.shape
        shape = model.shape
        self.layout: KVLayout = shape.layout(config)
        self.max_model_len = min(config.max_model_len, shape.positions)
        pages = resolve_pages(config, self.layout)
        self.device_pages, self.host_pages = pages[Pool.DEVICE], pages[Pool.HOST]
        self.vocab, self.eos = shape.vocab, shape.eos
        self.weights_bytes = model.weights_bytes
        self.arena = Arena(self.layout, pages, config.device)
        self.paged: Paged = _paged(self.arena, shape, self.max_model_len, config.device)
        self.path: Path = model.path(self.paged)
        table = -(-self.max_model_len // config.page_tokens)
        self.limits = Limits(self.device_pages, table, config.page_tokens, self.max_model_len)
        self.batches = Batches(self.limits)

    @classmethod
    def load(cls, config: EngineConfig) -> TorchCompute:
        """Read the model, set up its memory and warm every kernel up.

        Raises UsageError for a model or setting that is not supported, PrerequisiteError for a missing device.
        """
        _check_device(config)
        torch.set_num_threads(config.threads)
        compute = cls(config, _model(config))
        from systems.core.torch.warm import warm_up

        warm_up(compute)
        return compute

    # -- Compute -------------------------------------------------------------------------------------

    def admit(self, request: Request) -> None:
        """A request that iterations may name from now on. Raises BadRequest for a token id of no token."""
        if not request.prompt or min(request.prompt) < 0 or max(request.prompt) >= self.vocab:
            raise BadRequest(f"Prompt token ids must be from 0 to {self.vocab - 1}, and at least one.")
        self.batches.admit(request)

    def forget(self, request: int) -> None:
        """A request that no later iteration names."""
        self.batches.forget(request)

    def step(self, iteration: Iteration) -> Step:
        """Run one forward pass and sample.

        What fails for one request alone (an unknown id, a table that is too short, logits that are not finite) is
        that request's failure; running out of memory is everybody's in the iteration.
        """
        if iteration.beam is not None:
            raise UsageError("Draft models are not supported by torch compute.")
        lane = self.batches.lane(iteration.lane)
        failed = self.batches.change(iteration)
        spans = self._sound(iteration.spans, failed)
        if not len(lane) and not spans:
            return Step([], [], tuple(failed))
        try:
            with torch.inference_mode():
                for copy in iteration.copies:
                    self.paged.move(copy)
                rows = self.batches.rows(lane, spans)
                tokens, finite = sample(self.path.forward(rows), rows.draws)
        except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            everybody = [span.request for span in spans] + list(lane.ids)
            return Step([], [], (*failed, *((request, "Out of memory.") for request in everybody)))
        return self._commit(iteration.lane, rows, tokens, finite, failed)

    def copy(self, transfer: Transfer) -> None:
        """Copy the pages of a transfer: at once on a CPU, on a stream of its own on a GPU."""
        self.arena.copy(transfer)

    def copied(self, transfer: int) -> bool:
        """Whether the stream is through with it."""
        return self.arena.copied(transfer)

    # -- the rest --------------------------------------------------------------------------------------

    def _sound(self, spans: tuple[Span, ...], failed: list[Failure]) -> list[Span]:
        """The spans that can run; the others are added to `failed`."""
        sound = []
        for span in spans:
            if reason := self.batches.check(span):
                failed.append((span.request, reason))
            else:
                sound.append(span)
        return sound

    def _commit(
        self,
        number: int,
        rows: Rows,
        tokens: np.ndarray[tuple[int], np.dtype[np.int64]],
        finite: np.ndarray[tuple[int], np.dtype[np.bool_]],
        failed: list[Failure],
    ) -> Step:
        lane, values = self.batches.lane(number), tokens.tolist()
        said = len(rows.requests) - len(lane)
        for request, token in zip(rows.requests[:said], values, strict=False):
            self.batches.live[request].tokens.append(token)
        lane.advance(tokens[said:], values[said:])
        if finite.all():
            return Step(rows.requests, values, tuple(failed))
        bad = {rows.requests[row] for row in np.flatnonzero(~finite)}
        lane.leave(bad)
        failed += [(request, "The model's output is not finite.") for request in sorted(bad)]
        good = [(request, token) for request, token in zip(rows.requests, values, strict=True) if request not in bad]
        return Step([request for request, _ in good], [token for _, token in good], tuple(failed))

    def facts(self) -> dict[str, object]:
        """What was applied, for `/ae/config`."""
        return {
            "device_pages": self.device_pages,
            "host_pages": self.host_pages,
            "max_model_len": self.max_model_len,
            "threads": torch.get_num_threads(),
            "device": _device_name(self.config.device),
            "path": self.path.name,
            "attention": type(self.paged).__name__,
            "family": self.shape.family,
            "weights_bytes": self.weights_bytes,
            "page_bytes": self.layout.groups[0].page_bytes,
            "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        }


def resolve_pages(config: EngineConfig, layout: KVLayout) -> dict[Pool, int]:
    """Pages of each pool: as asked for, or as many as fit in the bytes asked for. Raises UsageError for none."""
    size = max(group.page_bytes for group in layout.groups)
    pages = {
        Pool.DEVICE: config.device_pages or config.kv_bytes // size,
        Pool.HOST: config.host_pages or config.host_bytes // size,
    }
    if pages[Pool.DEVICE] < 1:
        raise UsageError(f"{config.kv_bytes} bytes of KV memory hold no page of {size} bytes.", "Raise kv_bytes.")
    return pages


def _check_device(config: EngineConfig) -> None:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise PrerequisiteError("There is no CUDA device here, or torch was installed without it.", "Use device cpu.")
    if config.device == "cpu" and config.dtype != "float32":
        raise UsageError(f"On CPU the model runs in float32, not {config.dtype}.", "Set dtype to float32.")


def _paged(arena: Arena, shape: Shape, longest: int, device: str) -> Paged:
    if device == "cpu":
        return CpuPaged(arena, shape.heads, longest)
    from systems.core.torch.cuda import CudaPaged

    return CudaPaged(arena)


def _model(config: EngineConfig) -> Model:
    """On its short path if it has one; `transformers` is imported only if not."""
    short = short_model(config) if config.fast_path and config.device == "cpu" else None
    if short is not None:
        return short
    from systems.core.torch.adapter import modules_model

    return modules_model(config)


def _out_of_memory(error: BaseException) -> bool:
    """CPU allocation failures of torch are plain RuntimeErrors."""
    return (
        not isinstance(error, RuntimeError)
        or isinstance(error, torch.OutOfMemoryError)
        or ("not enough memory" in str(error) or "can't allocate memory" in str(error))
    )


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else cpu_name()
