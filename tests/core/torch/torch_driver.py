"""A small random scheduler over `TorchCompute`: chunks, preemption with recompute, swapping between scrambled pages."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from systems.core.memory.blocks import PagedBlocks, Where
from systems.core.plan import Grant, Iteration, Pool, Span, SpanKind
from systems.core.request import Request
from systems.core.torch.compute import TorchCompute


@dataclass
class Job:
    request: Request
    known: int = 0  # prompt + output tokens
    stored: int = 0  # tokens whose KV is in memory
    member: bool = False
    output: list[int] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.output) >= self.request.sampling.max_tokens


class Driver:
    """`trouble` is the chance, per iteration, that a random request is preempted."""

    def __init__(
        self, compute: TorchCompute, *, chunk: int, batch: int = 8, trouble: float = 0.0, seed: int = 0
    ) -> None:
        self.compute, self.chunk, self.batch, self.trouble = compute, chunk, batch, trouble
        self.random = random.Random(seed)
        self.blocks = PagedBlocks(compute.device_pages, compute.host_pages, compute.config.page_tokens, 1)
        for pool in (Pool.DEVICE, Pool.HOST):
            self.random.shuffle(self.blocks._free[pool])
        self.jobs: dict[int, Job] = {}
        self.left: list[int] = []
        self.iterations = self.swaps = self.recomputed = 0

    def run(self, requests: list[Request]) -> dict[int, list[int]]:
        for request in requests:
            self.compute.admit(request)
            self.jobs[request.id] = Job(request, known=len(request.prompt))
        while any(not job.done for job in self.jobs.values()):
            self._iterate()
            assert self.iterations < 5000, "no progress"
        for name in self.jobs:
            self.compute.forget(name)
        return {name: job.output for name, job in self.jobs.items()}

    def _iterate(self) -> None:
        active = [job for job in self.jobs.values() if not job.done]
        if self.random.random() < self.trouble:
            self._preempt(self.random.choice(active))
        spans, joined, grown = self._plan(active[: self.batch])
        iteration = Iteration(
            self.iterations, spans=tuple(spans), joined=tuple(joined), left=tuple(self.left), grown=tuple(grown)
        )
        self.iterations += 1
        self.left = []
        step = self.compute.step(iteration)
        assert not step.failed, step.failed
        for span in spans:
            self.jobs[span.request].stored = span.start + span.count
        for job in self.jobs.values():
            job.stored += job.member
        for name, token in zip(step.requests, step.tokens, strict=True):
            job = self.jobs[name]
            job.output.append(token)
            job.known += 1
            if job.done:
                self._stop(job)
                self.blocks.release(name)
        self.blocks.check()

    def _plan(self, jobs: list[Job]) -> tuple[list[Span], list[Span], list[Grant]]:
        spans, joined, grown = [], [], []
        budget = self.chunk
        for job in jobs:
            name = job.request.id
            if self.blocks.where(name) is Where.HOST:
                self._swap_in(job)
                continue
            single = job.known - job.stored == 1 and job.output
            count = 1 if single else min(budget, job.known - job.stored)
            if count <= 0:
                continue
            fresh = self.blocks.extend(name, job.stored + count)
            if fresh is None:
                self._stop(job)
                continue
            if single:
                if job.member:
                    grown += [Grant(name, 0, page) for page in fresh]
                else:
                    joined.append(Span(name, job.stored, 1, SpanKind.DECODE, (self.blocks.table(name),)))
                    job.member = True
                continue
            budget -= count
            kind = SpanKind.RECOMPUTE if job.output else SpanKind.CHUNK
            last = job.stored + count == job.known
            spans.append(Span(name, job.stored, count, kind, (self.blocks.table(name),), emits=last))
        if not spans and not any(job.member for job in self.jobs.values()):
            self._make_room(jobs)
        return spans, joined, grown

    def _make_room(self, jobs: list[Job]) -> None:
        holders = [job for job in jobs if self.blocks.where(job.request.id) is Where.DEVICE]
        if holders:
            self._preempt(holders[-1])

    def _stop(self, job: Job) -> None:
        if job.member:
            self.left.append(job.request.id)
            job.member = False

    def _preempt(self, job: Job) -> None:
        name = job.request.id
        if self.blocks.where(name) is not Where.DEVICE:
            return
        self._stop(job)
        transfer = self.blocks.swap_out(name) if self.random.random() < 0.5 else None
        if transfer:
            self.swaps += 1
            self.compute.copy(transfer)
            self.blocks.settle(transfer)
        else:
            self.recomputed += 1
            self.blocks.release(name)
            job.stored = 0

    def _swap_in(self, job: Job) -> None:
        transfer = self.blocks.swap_in(job.request.id)
        if transfer:
            self.compute.copy(transfer)
            self.blocks.settle(transfer)
