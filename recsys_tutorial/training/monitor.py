"""What every iterative fit shares: a progress bar, a history, and stopping early."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from recsys_tutorial._checks import check_at_least


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
    model : the object whose state is watched, see `model_state`
    iterations : int, at most so many
    validation : callable model -> float, or None
        Called after each iteration; **larger is better** (pass a negative error). The fit stops
        after `patience` iterations without a new best, and `finish` puts the state of the best
        iteration back.
    patience : int
    steps : int, steps in an iteration, for the bar: call `advance` after each

    Attributes
    ----------
    best_state : dict or None, the copied state of the best iteration so far

    Raises
    ------
    ValueError
        For a validation that cannot be called, or a patience below 1.
    """

    def __init__(
        self,
        model: Any,
        iterations: int,
        *,
        validation: Callable[[Any], float] | None = None,
        patience: int = 3,
        steps: int = 1,
    ):
        if validation is not None and not callable(validation):
            raise ValueError(f"validation must be a function of the model, got {validation!r}")
        check_at_least(1, patience=patience)
        self.model, self.iterations, self.steps = model, iterations, steps
        self.validation, self.patience = validation, patience
        self.best_state: dict | None = None
        self._rows: list[dict[str, float]] = []
        self._best, self._best_iteration = None, None  # until the first validation
        self._bar: tqdm | None = None

    def __iter__(self) -> Iterator[int]:
        done, total = len(self._rows), self.iterations * self.steps
        # disable=None: no bar where standard error is not a terminal (notebooks, logs, tests).
        options = {"desc": type(self.model).__name__, "disable": None, "leave": False}
        with tqdm(total=total, initial=done * self.steps, **options) as self._bar:
            for iteration in range(done + 1, self.iterations + 1):
                if self.best_state is not None and iteration > self._best_iteration + self.patience:
                    break
                yield iteration
                shown = {name: f"{value:.5g}" for name, value in self._rows[-1].items()}
                self._bar.set_postfix(shown, refresh=False)
                self._bar.update(iteration * self.steps - self._bar.n)

    def advance(self, steps: int = 1) -> None:
        """Move the bar on within an iteration.

        Parameters
        ----------
        steps : int, of the `steps` that an iteration has
        """
        self._bar.update(steps)

    def record(self, **values: float) -> None:
        """Keep one iteration's numbers, and ask `validation` about it.

        Parameters
        ----------
        **values : float, the columns of the history

        Raises
        ------
        FloatingPointError
            When the value named `objective` is not finite.
        ValueError
            When the validation is nan.
        """
        iteration = len(self._rows) + 1
        if "objective" in values and not np.isfinite(values["objective"]):
            raise FloatingPointError(
                f"the objective of {type(self.model).__name__} became {values['objective']} in "
                f"iteration {iteration}: lower learning_rate or raise reg"
            )
        row = {name: float(value) for name, value in values.items()}
        if self.validation is not None:
            score = float(self.validation(self.model))
            if np.isnan(score):
                raise ValueError(f"validation returned nan in iteration {iteration}")
            row["validation"] = score
            if self.best_state is None or score > self._best:
                self._best, self._best_iteration = score, iteration
                self.best_state = model_state(self.model)
        self._rows.append(row)

    def finish(self) -> pd.DataFrame:
        """Put the best iteration's state back and return the history.

        Returns
        -------
        DataFrame, a row for each iteration from 1 on: what was recorded, and validation
        """
        if self.best_state is not None:
            restore_state(self.model, self.best_state)
        index = pd.RangeIndex(1, len(self._rows) + 1, name="iteration")
        return pd.DataFrame(self._rows, index=index)

    def progress(self) -> dict:
        """The monitor's state in a form that JSON holds; `best_state` is the rest of it."""
        return {"rows": self._rows, "best": self._best, "best_iteration": self._best_iteration}

    def resume(self, progress: dict, best_state: dict | None) -> None:
        """Go on where another monitor was.

        Parameters
        ----------
        progress : dict, what its `progress` returned
        best_state : dict or None, its attribute of this name
        """
        self._rows, self.best_state = progress["rows"], best_state
        self._best, self._best_iteration = progress["best"], progress["best_iteration"]


def model_state(model: Any) -> dict[str, Any]:
    """A copy of what training changes.

    Of a `torch.nn.Module` the parameters that require gradients and the persistent buffers; of
    any other model the fitted arrays, whose names end in "_".

    Parameters
    ----------
    model : Module, or an object with arrays for attributes

    Returns
    -------
    dict name -> Tensor or ndarray
    """
    if hasattr(model, "state_dict"):
        everything = dict(model.named_parameters(remove_duplicate=False))
        once = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        return {
            name: value.detach().clone()
            for name, value in model.state_dict().items()
            if name in once or name not in everything  # that is, a buffer
        }
    return {
        name: value.copy()
        for name, value in vars(model).items()
        if name.endswith("_") and isinstance(value, np.ndarray)
    }


def restore_state(model: Any, state: dict[str, Any]) -> None:
    """Put a copied state back into the model.

    Parameters
    ----------
    model : the object that it was copied from, or one like it
    state : dict, what `model_state` returned
    """
    if hasattr(model, "load_state_dict"):
        model.load_state_dict(state, strict=False)
    else:
        vars(model).update(state)
