"""Packed lessons; a planted task; resuming."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_tutorial.language import (
    Lesson,
    add_adapter,
    answer_loss,
    lesson_log_likelihoods,
    teach,
)
from tests.language.conftest import tiny_model
from tests.language.lesson_texts import LESSONS, as_tensors


def test_no_lesson_has_no_log_likelihoods():
    assert lesson_log_likelihoods(tiny_model(), []) == []


def first_loss(lessons, **settings):
    """The loss before anything was learned: a rate of 0 keeps the weights."""
    model = tiny_model(torch.float64)
    add_adapter(model, rank=2)
    taught = teach(model, lessons, learning_rate=0.0, batch_size=len(lessons), **settings)
    return model, float(taught["loss"].iloc[0])


def test_the_loss_of_packed_lessons_is_that_of_each_text_alone():
    model, found = first_loss(LESSONS)
    total, n = 0.0, 0
    for lesson in LESSONS:
        for end in lesson.answers:
            tokens, ours = as_tensors(model, lesson, end)
            with torch.no_grad():
                loss = answer_loss(model.model(tokens).logits, tokens, ours)
            total, n = total + float(loss) * int(ours.sum()), n + int(ours.sum())
    # Two answers that see each other, or a prompt's token among the answers: third digit.
    assert found == pytest.approx(total / n, abs=1e-8)


def test_the_loss_of_a_text_counts_its_prompt_once():
    model, found = first_loss(LESSONS, objective="text")
    total, n = 0.0, 0
    for lesson in LESSONS:
        for k, end in enumerate(lesson.answers):
            tokens, ours = as_tensors(model, lesson, end)
            if k == 0:  # with the prompt, of which nothing comes before the first token
                ours[:, 1:] = True
            with torch.no_grad():
                loss = answer_loss(model.model(tokens).logits, tokens, ours)
            total, n = total + float(loss) * int(ours.sum()), n + int(ours.sum())
    assert found == pytest.approx(total / n, abs=1e-8)


def test_preferences_are_read_from_whole_titles():
    model, found = first_loss(LESSONS, objective="preferences", beta=0.5)
    values = lesson_log_likelihoods(model, LESSONS)
    losses = []
    for lesson, row in zip(LESSONS, values, strict=True):
        n = len(lesson.answers)
        parts = [
            math.log(1 + sum(math.exp(0.5 * (worse - better)) for worse in row[n:]))
            for better in row[:n]
        ]
        losses.append(np.mean(parts))
    assert found == pytest.approx(np.mean(losses), abs=1e-8)


def test_with_itself_as_reference_all_candidates_are_alike_at_first():
    reference = lesson_log_likelihoods(tiny_model(torch.float64), LESSONS)
    _, found = first_loss(LESSONS, objective="preferences", reference=reference)
    assert found == pytest.approx((math.log(3) + 2 * math.log(2)) / 3, abs=1e-8)


# A planted task: who likes one kind loves films of that kind, and no film is in both.
KINDS = {
    "alien": ["alien", "aliens", "matrix", "alien matrix"],
    "crime": ["heat", "crime", "crime heat", "theme"],
}


def planted(n, seed):
    rng = np.random.default_rng(seed)
    found = []
    for user in range(n):
        one, other = rng.permutation(list(KINDS))
        *liked, answer = rng.permutation(KINDS[one])
        lines = "\n".join(f"- {title}" for title in liked[:2])
        worse = rng.choice(KINDS[other])
        prompt = f"likes\n{lines}\nfilm:"
        found.append(Lesson(user, prompt, (f" {answer}\n",), (f" {worse}\n",)))
    return found


def right(model, lessons):
    """The share of lessons whose answer is likelier than what is rejected."""
    return float(np.mean([a > b for a, b in lesson_log_likelihoods(model, lessons)]))


EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize("objective", ["answers", "preferences"])
def test_a_planted_task_is_learned_and_was_not_known(objective):
    model = tiny_model(torch.float64, batch_tokens=1024)
    unseen = planted(60, seed=1)
    before = right(model, unseen)
    add_adapter(model, rank=8, alpha=32, targets=EVERY)
    history = teach(
        model, planted(96, seed=0), objective=objective, epochs=8, batch_size=8,
        learning_rate=5e-3,
    )  # fmt: skip
    after = right(model, unseen)
    assert before < 0.75 and after > 0.85, (before, after)
    assert history["loss"].iloc[-1] < 0.7 * history["loss"].iloc[0]
    assert history["tokens"].is_monotonic_increasing


def test_what_is_taught_with_answers_of_others_stays_unknown():
    """The guard: the same budget on shuffled answers gives no such model."""
    lessons = planted(96, seed=0)
    order = np.random.default_rng(3).permutation(len(lessons))
    mixed = [
        Lesson(x.user_id, x.prompt, lessons[k].answers) for x, k in zip(lessons, order, strict=True)
    ]
    model = tiny_model(torch.float64, batch_tokens=1024)
    add_adapter(model, rank=8, alpha=32, targets=EVERY)
    teach(model, mixed, epochs=8, batch_size=8, learning_rate=5e-3)
    assert right(model, planted(60, seed=1)) < 0.75


def trained(tmp_path=None, stop_after=None, **settings):
    model = tiny_model(torch.float64)
    add_adapter(model, rank=2)

    def stop(_):
        if stop_after is not None and len(seen) == stop_after:
            raise KeyboardInterrupt
        seen.append(1)
        return {}

    seen = []
    checkpoint = None if tmp_path is None else tmp_path / "run.safetensors"
    options = {"epochs": 3, "batch_size": 2, "checkpoint_every": 1, **settings}
    history = teach(model, planted(10, 0), metrics=stop, checkpoint=checkpoint, **options)
    return history, lesson_log_likelihoods(model, LESSONS)


def test_a_run_that_was_stopped_goes_on_to_the_same_end(tmp_path):
    history, values = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop_after=1)
    resumed, again = trained(tmp_path)
    np.testing.assert_allclose(np.concatenate(again), np.concatenate(values), atol=1e-9)
    pd.testing.assert_frame_equal(resumed, history, rtol=1e-9)


def test_an_epoch_may_take_some_of_the_lessons():
    history, _ = trained(lessons_per_epoch=4)
    whole, _ = trained()
    assert history["tokens"].iloc[-1] < 0.6 * whole["tokens"].iloc[-1]
    model = tiny_model()
    lengths = [
        len(model.tokens(x.prompt)) + len(model.tokens(x.answers[0])) for x in planted(10, 0)
    ]
    assert whole["tokens"].tolist() == [sum(lengths) * k for k in (1, 2, 3)]


def test_in_bfloat16_the_adapter_stays_float32_and_the_loss_is_about_the_same():
    losses = {}
    for precision in ("full", "bf16"):
        model = tiny_model(torch.float32)
        add_adapter(model, rank=2)
        learned = [p for p in model.model.parameters() if p.requires_grad]
        if precision == "bf16":
            for parameter in model.model.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.bfloat16()
        losses[precision] = teach(model, planted(12, 0), precision=precision)["loss"].iloc[0]
        assert {p.dtype for p in learned} == {torch.float32}
        assert any((p != 0).any() for p in learned[1::2])  # B, which began at 0
    assert losses["bf16"] != losses["full"]  # it was computed in bfloat16
    assert losses["bf16"] == pytest.approx(losses["full"], rel=0.02)


@pytest.mark.parametrize(
    ("lessons", "settings", "message"),
    [
        ([], {}, "0 lessons an epoch, of 0"),
        (LESSONS, {"lessons_per_epoch": 4}, "4 lessons an epoch, of 3"),
        (LESSONS, {"objective": "rewards"}, "objective must be"),
        (LESSONS, {"batch_size": 0}, "batch_size"),
        (LESSONS, {"precision": "half"}, "precision must be"),
        ([Lesson(1, "a:", ())], {}, "lesson 0 has no answer"),
        ([Lesson(1, "a:", (" b",))], {"objective": "preferences"}, "lesson 0 has no rejected"),
        ([Lesson(1, "a" * 300, (" b",))], {}, "the model's window is 160"),
        (LESSONS, {"objective": "preferences", "reference": [np.zeros(2)]}, "1 lessons for 3"),
        (
            LESSONS,
            {"objective": "preferences", "reference": [np.zeros(2)] * 3},
            "reference 0 must be",
        ),
    ],
)
def test_bad_input(lessons, settings, message):
    model = tiny_model()
    add_adapter(model, rank=2)
    with pytest.raises(ValueError, match=message):
        teach(model, lessons, **settings)


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(ValueError, match="no parameter that requires gradients"):
        teach(tiny_model(), LESSONS)
