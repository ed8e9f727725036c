"""Synthetic compute: made-up tokens, no model and no torch. It checks that plans make sense as it goes."""

from __future__ import annotations

from systems.core.compute import Step
from systems.core.plan import Iteration, Transfer
from systems.core.request import Request


class SyntheticCompute:
    """Token number k of request r is a fixed function of both, so output does not depend on scheduling."""

    def __init__(self, vocab: int = 512) -> None:
        self.vocab = vocab
        self._output: dict[int, int] = {}
        self._prompts: dict[int, int] = {}
        self._lanes: dict[int, dict[int, None]] = {}

    def admit(self, request: Request) -> None:
        """Start counting the output of `request`."""
        self._output[request.id] = 0
        self._prompts[request.id] = len(request.prompt)

    def forget(self, request: int) -> None:
        """Drop it from every lane."""
        self._output.pop(request, None)
        self._prompts.pop(request, None)
        for members in self._lanes.values():
            members.pop(request, None)

    def step(self, iteration: Iteration) -> Step:
        """One token for every emitting span and every member."""
        members = self._lanes.setdefault(iteration.lane, {})
        for request in iteration.left:
            members.pop(request, None)
        for span in iteration.joined:
            members[span.request] = None
        for span in iteration.spans:
            known = self._prompts[span.request] + self._output[span.request]
            assert span.start + span.count <= known, "a span computes tokens that do not exist"
        requests = [span.request for span in iteration.spans if span.emits]
        requests.extend(members)
        return Step(requests, [self._token(request) for request in requests])

    def copy(self, transfer: Transfer) -> None:
        """Nothing to copy."""

    def copied(self, transfer: int) -> bool:
        """Nothing is ever under way."""
        return True

    def _token(self, request: int) -> int:
        number = self._output[request]
        self._output[request] = number + 1
        return (request * 7919 + number * 104729) % self.vocab
