"""A few lessons, and their tokens as one row each."""

import torch

from recsys_tutorial.language import Lesson

PROMPT = "likes aliens\nAnother:"
LESSONS = [
    Lesson(1, PROMPT, (" heat\n", " the matrix\n"), (" crime\n", " comedy film\n")),
    Lesson(2, "likes heat\nAnother:", (" crime film\n",), (" comedy\n",)),
    Lesson(3, "the film:", (" alien\n", " heat\n"), (" crime\n",)),
]


def as_tensors(model, lesson, end):
    """One row of tokens, and which of them are the end's, by the letters that each covers."""
    text = lesson.prompt + end
    batch = model.tokenizer(text, return_offsets_mapping=True)
    ours = [stop > len(lesson.prompt) for _, stop in batch["offset_mapping"]]
    return torch.tensor([batch["input_ids"]]), torch.tensor([ours])
