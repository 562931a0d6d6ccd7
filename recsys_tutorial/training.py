"""What iterative fits share: a progress bar, a history, and stopping early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm


class FitMonitor:
    """Runs the iterations of a model's fit: shows progress, keeps the history, stops early.

    ::

        monitor = FitMonitor(model, iterations=20, validation=score_on_validation_users)
        for _ in monitor:
            ...                                   # one iteration; sets the model's attributes
            monitor.record(objective=value)
        model.history_ = monitor.finish()

    Parameters
    ----------
    model : the object whose fitted arrays (attributes ending in "_") are watched
    iterations : int, at most so many
    validation : callable model -> float, or None
        Called after each iteration; **larger is better** (pass a negative error). The fit stops
        after `patience` iterations without a new best, and `finish` puts the arrays of the best
        iteration back.
    patience : int
    """

    def __init__(
        self,
        model: Any,
        iterations: int,
        *,
        validation: Callable[[Any], float] | None = None,
        patience: int = 3,
    ):
        if validation is not None and not callable(validation):
            raise ValueError(f"validation must be a function of the model, got {validation!r}")
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        self.model, self.iterations = model, iterations
        self.validation, self.patience = validation, patience
        self._rows: list[dict[str, float]] = []
        self._best, self._best_iteration, self._best_state = -np.inf, 0, None

    def __iter__(self) -> Iterator[int]:
        # disable=None: no bar where standard error is not a terminal (notebooks, logs, tests).
        with tqdm(
            range(1, self.iterations + 1), desc=type(self.model).__name__, disable=None, leave=False
        ) as bar:
            for iteration in bar:
                yield iteration
                bar.set_postfix({k: f"{v:.5g}" for k, v in self._rows[-1].items()}, refresh=False)
                waited = iteration - self._best_iteration
                if self.validation is not None and waited >= self.patience:
                    break

    def record(self, **values: float) -> None:
        """Keep one iteration's numbers; `objective` must be finite."""
        iteration = len(self._rows) + 1
        objective = values.get("objective", 0.0)
        if not np.isfinite(objective):
            raise FloatingPointError(
                f"the objective of {type(self.model).__name__} became {objective} in iteration "
                f"{iteration}: lower learning_rate or raise reg"
            )
        row = {name: float(value) for name, value in values.items()}
        if self.validation is not None:
            score = float(self.validation(self.model))
            if np.isnan(score):
                raise ValueError(f"validation returned nan in iteration {iteration}")
            row["validation"] = score
            if score > self._best or self._best_state is None:
                self._best, self._best_iteration = score, iteration
                self._best_state = {
                    name: value.copy()
                    for name, value in vars(self.model).items()
                    if name.endswith("_") and isinstance(value, np.ndarray)
                }
        self._rows.append(row)

    def finish(self) -> pd.DataFrame:
        """Put the best iteration's arrays back; the history, one row per iteration from 1."""
        if self._best_state is not None:
            vars(self.model).update(self._best_state)
        index = pd.RangeIndex(1, len(self._rows) + 1, name="iteration")
        return pd.DataFrame(self._rows, index=index)
