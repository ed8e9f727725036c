"""Which estimator an engine's policy gets, and the same one again from an event log's header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from systems.core.config import EngineConfig
from systems.core.errors import PrerequisiteError
from systems.core.policy import Estimator
from systems.core.profile import Profile, ProfileEstimator

SYNTHETIC = "synthetic"


class Unmeasured:
    """Stands in where no profile was given: fine for a policy that never asks, an error for one that does."""

    def prefill(self, tokens: int) -> int:
        """Raise PrerequisiteError."""
        del tokens
        raise self._error()

    def decode(self, batch: int, context: int) -> int:
        """Raise PrerequisiteError."""
        del batch, context
        raise self._error()

    def shortest(self) -> int:
        """Raise PrerequisiteError."""
        raise self._error()

    def _error(self) -> PrerequisiteError:
        return PrerequisiteError(
            "This policy predicts time, and the engine was given no measured profile.",
            "Measure one: python -m systems.core.profiler --config ENGINE.json --out PROFILE.json; "
            "then set `profile` in the configuration.",
        )


def recorded_profile(config: EngineConfig) -> dict[str, Any]:
    """The profile that `config` asks for, as an event log's header has it; empty for none. Raises UsageError."""
    if config.profile:
        profile = Profile.load(Path(config.profile))
        if config.model != SYNTHETIC:  # the made-up model may borrow any
            profile.check_model(Path(config.model).name)
        return profile.to_dict()
    return Profile.synthetic().to_dict() if config.model == SYNTHETIC else {}


def estimator_of(recorded: dict[str, Any]) -> Estimator:
    """The estimator over a recorded profile. Raises UsageError when it is none."""
    return ProfileEstimator(Profile.from_dict(recorded)) if recorded else Unmeasured()
