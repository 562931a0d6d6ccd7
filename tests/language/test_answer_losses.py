"""The losses of answers against transformers' own, against DPO and S-DPO, and by hand."""

import math

import pytest
import torch

from recsys_tutorial.language import answer_loss, preference_loss
from tests.language.conftest import tiny_model
from tests.language.lesson_texts import LESSONS, as_tensors


def test_answer_loss_is_that_of_transformers():
    model = tiny_model(torch.float32)
    tokens, ours = as_tensors(model, LESSONS[0], " the matrix\n")
    with torch.no_grad():
        labels = tokens.masked_fill(~ours, -100)
        theirs = model.model(tokens, labels=labels).loss
        logits = model.model(tokens).logits
    # One token more or less, or a shift by one, changes the second digit.
    torch.testing.assert_close(answer_loss(logits, tokens, ours), theirs, atol=1e-5, rtol=0)
    everything = answer_loss(logits, tokens, torch.ones_like(ours))
    assert abs(float(everything - theirs)) > 1e-2


def test_answer_loss_by_hand():
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(7), 0.0], [0.0, 0.0]]])
    tokens = torch.tensor([[0, 1, 0]])
    only_last = torch.tensor([[False, False, True]])
    assert float(answer_loss(logits, tokens, only_last)) == pytest.approx(-math.log(7 / 8))
    both = torch.tensor([[True, True, True]])  # nothing comes before the first
    expected = -(math.log(3 / 4) + math.log(7 / 8)) / 2
    assert float(answer_loss(logits, tokens, both)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="no token belongs to an answer"):
        answer_loss(logits, tokens, torch.tensor([[True, False, False]]))
    with pytest.raises(ValueError, match="tokens must be"):
        answer_loss(logits, tokens[:, :2], both)


def test_preference_loss_with_one_rejected_answer_is_that_of_dpo():
    torch.manual_seed(0)
    chosen, rejected, a, b = torch.randn(4, 5, dtype=torch.float64)
    beta = 0.3
    margin = (chosen - a) - (rejected - b)  # Rafailov et al. 2023, equation 7
    expected = -torch.nn.functional.logsigmoid(beta * margin).mean()
    found = preference_loss(chosen, rejected[:, None], a, b[:, None], beta)
    torch.testing.assert_close(found, expected)


def test_preference_loss_with_several_is_the_equation_of_s_dpo():
    torch.manual_seed(1)
    chosen, a = torch.randn(2, 4, dtype=torch.float64)
    rejected, b = torch.randn(2, 4, 3, dtype=torch.float64)
    beta = 0.7
    differences = beta * (rejected - b) - beta * (chosen - a)[:, None]
    expected = -torch.nn.functional.logsigmoid(-differences.exp().sum(1).log()).mean()
    torch.testing.assert_close(preference_loss(chosen, rejected, a, b, beta), expected)


def test_preference_loss_by_hand():
    found = preference_loss(torch.tensor([0.0]), torch.log(torch.tensor([[1.0, 2.0]])))
    assert float(found) == pytest.approx(math.log(4))
    with pytest.raises(ValueError, match="do not fit"):
        preference_loss(torch.zeros(2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="do not fit"):
        preference_loss(torch.zeros(2), torch.zeros(2, 0))
    with pytest.raises(ValueError, match="beta"):
        preference_loss(torch.zeros(1), torch.zeros(1, 1), beta=0)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 1), (3, 3), (3, 1), (3, 3)), "do not fit"),
        (((3,), (3, 3), (3, 1), (3, 3)), r"reference_chosen must be \(3,\), got \(3, 1\)"),
        (((3,), (3, 3), (1,), (3, 3)), r"reference_chosen must be \(3,\), got \(1,\)"),
        (((3,), (3, 3), (3,), (3,)), r"reference_rejected must be \(3, 3\), got \(3,\)"),
        (((3,), (3, 3), (3,), (3, 1)), r"reference_rejected must be \(3, 3\), got \(3, 1\)"),
    ],
)
def test_a_reference_of_another_shape_is_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        preference_loss(*map(torch.zeros, shapes))
