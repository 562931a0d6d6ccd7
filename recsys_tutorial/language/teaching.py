"""Teaching a language model by lessons; what it is taught by stands in `answer_losses`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least, check_one_of, check_shape
from recsys_tutorial.language._likelihoods import (
    branches_of,
    checked_pairs,
    packed_log_likelihoods,
)
from recsys_tutorial.language._packing import Branch
from recsys_tutorial.language.answer_losses import answer_loss, preference_loss
from recsys_tutorial.language.lessons import Lesson
from recsys_tutorial.language.model import LanguageModel
from recsys_tutorial.training import train

__all__ = ["answer_loss", "lesson_log_likelihoods", "preference_loss", "teach"]


def lesson_log_likelihoods(
    language_model: LanguageModel, lessons: Sequence[Lesson]
) -> list[np.ndarray]:
    """Log p of all answers, then of all rejected ones, for each lesson: a reference for `teach`.

    Parameters
    ----------
    language_model : LanguageModel, as it is now
    lessons : sequence of Lesson

    Returns
    -------
    list of ndarray (n_answers + n_rejected,), float64, one for each lesson
    """
    ends = [[*lesson.answers, *lesson.rejected] for lesson in lessons]
    prompts = [x.prompt for x, own in zip(lessons, ends, strict=True) for _ in own]
    values = language_model.log_likelihood(prompts, [end for own in ends for end in own])
    return np.split(values, np.cumsum([len(own) for own in ends])[:-1]) if ends else []


def teach(
    language_model: LanguageModel,
    lessons: Sequence[Lesson],
    *,
    objective: str = "answers",
    reference: Sequence[np.ndarray] | None = None,
    beta: float = 1.0,
    epochs: int = 1,
    lessons_per_epoch: int | None = None,
    batch_size: int = 4,
    learning_rate: float = 1e-3,
    warmup: float = 0.1,
    seed: int = 0,
    metrics: Callable[[nn.Module], Mapping[str, float]] | None = None,
    precision: str = "full",
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 10,
) -> pd.DataFrame:
    """Train what requires gradients in a model, such as its adapter, by lessons; in place.

    A lesson is read in one row: its prompt once, and all its answers behind it, of which none sees
    another. AdamW and its schedule are those of `training.train`, without weight decay.

    Parameters
    ----------
    language_model : LanguageModel; see `add_adapter`
    lessons : sequence of Lesson
    objective : "answers", "text" or "preferences"
        The cross-entropy of the answers' tokens, as `answer_loss`; of all tokens behind the first,
        the prompt's counted once; or `preference_loss`, each answer of a lesson against all its
        rejected ones.
    reference : sequence of ndarray, for "preferences": what `lesson_log_likelihoods` gave before;
        without it, 0
    beta : float > 0, for "preferences"
    epochs : int >= 1
    lessons_per_epoch : int, optional
        An epoch takes so many lessons, drawn anew; all of them by default.
    batch_size : int >= 1, lessons in a step
    learning_rate, warmup, seed, metrics, precision, checkpoint, checkpoint_every
        See `training.train`.

    Returns
    -------
    DataFrame, a row for each epoch: loss, learning_rate, tokens (int, read from the start on),
    those of `metrics`

    Raises
    ------
    ValueError
        For no lesson, one without what the objective needs or too long for the window, a
        reference that does not fit, another objective, numbers out of range, and a checkpoint of
        another run.
    """
    check_one_of(_LOSSES, objective=objective)
    check_at_least(1, batch_size=batch_size)
    lessons = list(lessons)
    n_drawn = len(lessons) if lessons_per_epoch is None else lessons_per_epoch
    if not 1 <= n_drawn <= len(lessons):
        raise ValueError(f"{n_drawn} lessons an epoch, of {len(lessons)}")
    read = _LOSSES[objective]
    branches = [_branch(language_model, row, lesson, read) for row, lesson in enumerate(lessons)]
    reference = _checked_reference(reference, lessons, objective)

    def loss(network: nn.Module, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        return read(network, language_model.batch_tokens, rows, branches, lessons, reference, beta)

    batches = partial(_dealt, len(lessons), n_drawn, -(-n_drawn // batch_size))
    history = train(
        language_model.model, loss, len(lessons), epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, weight_decay=0.0, warmup=warmup, seed=seed, batches=batches,
        metrics=metrics, precision=precision, checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
    )  # fmt: skip
    history.insert(2, "tokens", _tokens_read(branches, batches, seed, history.index))
    return history


def _dealt(n: int, n_drawn: int, n_batches: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Some of n lessons in their batches."""
    return np.array_split(rng.permutation(n)[:n_drawn], n_batches)


def _tokens_read(branches: list[Branch], batches: Callable, seed: int, epochs) -> np.ndarray:
    """The tokens read from the start to the end of each epoch, whose draws are made once more."""
    n_tokens = np.array([branch.n_tokens for branch in branches])
    drawn = [np.concatenate(batches(np.random.default_rng([seed, epoch]))) for epoch in epochs]
    return np.cumsum([n_tokens[rows].sum() for rows in drawn])


def _branch(language_model: LanguageModel, row: int, lesson: Lesson, read) -> Branch:
    """A lesson's tokens: only the answers', or those of all continuations."""
    if not lesson.answers or (read is _preferences and not lesson.rejected):
        raise ValueError(f"lesson {row} has no {'rejected ' if lesson.answers else ''}answer")
    ends = [*lesson.answers, *(lesson.rejected if read is _preferences else ())]
    prompts = [lesson.prompt] * len(ends)
    pairs = checked_pairs(language_model.tokenizer, prompts, ends, language_model.window)
    (branch,) = branches_of(prompts, ends, pairs)
    branch.keys = [(row, skip) for _, skip in branch.keys]
    return branch


def _checked_reference(reference, lessons: list[Lesson], objective: str):
    if reference is None or objective != "preferences":
        return None
    if len(reference) != len(lessons):
        raise ValueError(f"a reference of {len(reference)} lessons for {len(lessons)}")
    for row, (values, lesson) in enumerate(zip(reference, lessons, strict=True)):
        check_shape(f"reference {row}", values, (len(lesson.answers) + len(lesson.rejected),))
    return [torch.as_tensor(values) for values in reference]


def _values(network: nn.Module, batch_tokens: int, branches: list[Branch]):
    """Yield (lesson, log-likelihoods of each continuation's tokens) with gradients."""
    for branch, values in packed_log_likelihoods(network, branches, batch_tokens):
        parts = values.split([len(tail) for tail in branch.tails])
        skips = [skip for _, skip in branch.keys]
        yield branch.keys[0][0], [part[n:] for part, n in zip(parts, skips, strict=True)]


def _answers(network, batch_tokens, rows, branches, lessons, reference, beta) -> Tensor:
    found = _values(network, batch_tokens, [branches[row] for row in rows])
    return -torch.cat([part for _, parts in found for part in parts]).mean()


def _texts(network, batch_tokens, rows, branches, lessons, reference, beta) -> Tensor:
    own = [branches[row] for row in rows]
    found = packed_log_likelihoods(network, own, batch_tokens, with_shared=True)
    return -torch.cat([values for _, values in found]).mean()


def _preferences(network, batch_tokens, rows, branches, lessons, reference, beta) -> Tensor:
    losses = []
    for row, parts in _values(network, batch_tokens, [branches[row] for row in rows]):
        sums = torch.stack([part.sum() for part in parts])
        if reference is not None:
            sums = sums - reference[row].to(sums)
        n = len(lessons[row].answers)
        rejected = sums[n:].expand(n, -1)  # (n_answers, n_rejected)
        losses.append(preference_loss(sums[:n], rejected, beta=beta))
    return torch.stack(losses).mean()


_LOSSES = {"answers": _answers, "text": _texts, "preferences": _preferences}
