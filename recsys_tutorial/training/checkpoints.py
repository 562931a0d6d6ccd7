"""Where a training stands: written to a file, so that a killed run goes on instead of anew."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from recsys_tutorial._files.tensors import load_tensors, refuse_other_settings, save_tensors
from recsys_tutorial.training.monitor import FitMonitor, model_state, restore_state

_KIND = "a training checkpoint"


@dataclass
class Checkpoint:
    """The state of a run, and the file that holds it.

    Everything random in a run is drawn from its seed and the number of the step, so weights,
    the optimizer's averages and the history are all that has to be kept.

    Parameters
    ----------
    path : file name, or None: then nothing is written
    model : Module
    optimizer : Optimizer of parameters of `model`
    monitor : FitMonitor of `model`
    accelerator : Accelerator; its main process writes
    settings : mapping name -> what JSON can hold; a run with other ones is refused
    step : int, steps that were taken
    loss_sum : float, of the losses of this epoch's steps
    """

    path: str | os.PathLike | None
    model: nn.Module
    optimizer: torch.optim.Optimizer
    monitor: FitMonitor
    accelerator: Accelerator
    settings: Mapping
    step: int = 0
    loss_sum: float = 0.0

    def __post_init__(self):
        state = model_state(self.model)
        shapes = {f"shape of {name}": list(value.shape) for name, value in state.items()}
        self.settings = json.loads(json.dumps({**self.settings, **shapes}, default=float))

    def save(self) -> None:
        """Write the file, in the main process; the old one stays until the new one is whole."""
        if self.path is None or not self.accelerator.is_main_process:
            return
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        tensors = {f"model/{name}": value for name, value in model_state(self.model).items()}
        best = self.monitor.best_state or {}
        tensors |= {f"best/{name}": value for name, value in best.items()}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                tensors[f"optimizer/{key}/{names[parameter]}"] = value
        scaler = self.accelerator.scaler
        info = {
            "kind": _KIND,
            "settings": self.settings,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "monitor": self.monitor.progress(),
            "scaler": {} if scaler is None else scaler.state_dict(),
        }
        save_tensors(self.path, tensors, info)

    def resume(self) -> None:
        """Go on from the file if there is one; no process may write before all have looked.

        Raises
        ------
        ValueError
            For a file that is damaged, or that another run wrote.
        """
        if self.path is not None and Path(self.path).exists():
            self._load(self.path)
        self.accelerator.wait_for_everyone()

    def _load(self, path: str | os.PathLike) -> None:
        tensors, info = load_tensors(path, _KIND)
        mend = "Delete it to start anew, or restore the settings to go on"
        refuse_other_settings(path, info["settings"], self.settings, mend)
        parts: dict[str, dict] = {"model": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        restore_state(self.model, parts["model"])
        for name, value in parts["optimizer"].items():
            key, _, rest = name.partition("/")
            parameter = self.model.get_parameter(rest)
            value = value if key == "step" else value.to(parameter.device)
            self.optimizer.state[parameter][key] = value
        self.step, self.loss_sum = info["step"], info["loss_sum"]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(info["scaler"])
        self.monitor.resume(info["monitor"], parts["best"] or None)
