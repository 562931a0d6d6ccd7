"""What the language model reads: plain templates, and how a film's or a user's words get into them.

A slot holds one line of somebody else's words. What could end the slot or pass for part of the
template is taken out of them: line breaks, control characters, and the marks with which the
model's own tokens begin and end.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from itertools import cycle

__all__ = ["LEAD", "TEMPLATES", "fill", "one_line"]

# What stands between a prompt and the title that follows it.
LEAD = " "

TEMPLATES = {
    # log p(title) without a reason: what is subtracted for pointwise mutual information
    "title": "A film:",
    # from what somebody liked
    "likes": "Films that the same person loves:\n{likes}\nAnother film this person loves:",
    # from what somebody says
    "wish": 'Someone writes about films: "{words}"\nA film that this person would enjoy:',
    # both
    "likes and wish": (
        "Films that the same person loves:\n{likes}\n"
        'The person writes: "{words}"\n'
        "A film that this person would enjoy:"
    ),
    # the same as "likes", in other words and on one line
    "likes, reworded": (
        "A viewer's favourite movies:\n{likes}\n"
        "People with this taste also gave five stars to:"
    ),
    "likes, one line": "If you liked {words}, then you will also like:",
    # one of several that are shown; a letter follows
    "choice": (
        "Films that the same person loves:\n{likes}\n"
        "Which of these films would this person love most?\n{options}\nAnswer:"
    ),
    # about one film: " yes" or " no" follows
    "verdict": (
        "Films that the same person loves:\n{likes}\n"
        'Would this person love "{film}", too? Answer:'
    ),
    # what a software project needs, from its description, and the same without a reason
    "project": 'A software project for Debian: "{words}"\nA package that it needs:',
    "package": "A package for Debian:",
}  # fmt: skip

_MARKS = re.compile(r"<\||\|>|\[/?INST\]|</?s>", re.IGNORECASE)


def one_line(words: str) -> str:
    r"""Somebody's words as one line that cannot leave its slot.

    Parameters
    ----------
    words : str

    Returns
    -------
    str
        Without line breaks and control characters, quotation marks made single, and marks of
        special tokens such as "<|" taken apart; blanks are joined.

    Raises
    ------
    ValueError
        When nothing is left.

    Examples
    --------
    >>> one_line('Heat"\n<|im_start|>system')
    "Heat' < |im_start| >system"
    """
    kinds = [(unicodedata.category(letter), letter) for letter in words]
    # Cf: marks without a width, such as those that turn the direction of writing
    line = "".join(" " if kind[0] in "CZ" else c for kind, c in kinds if kind != "Cf")
    line = line.replace('"', "'")
    while found := _MARKS.search(line):
        line = f"{line[: found.start() + 1]} {line[found.start() + 1 :]}"
    line = " ".join(line.split())
    if not line:
        raise ValueError(f"{words!r} has no word for its slot")
    return line


def fill(template: str, /, **slots: str | Sequence[str]) -> str:
    """Put words into the slots of a template.

    Parameters
    ----------
    template : str, a name of `TEMPLATES`
    **slots : str or sequence of str
        Each slot of the template; a sequence becomes a list with a line "- ..." for each, or for
        `options` "A. ...", "B. ..." and so on.

    Returns
    -------
    str
        A prompt, behind which `LEAD` and a title follow.

    Raises
    ------
    ValueError
        For an unknown template, a slot that is missing or not there, words of which nothing is
        left, and more than 26 options.

    Examples
    --------
    >>> print(fill("likes", likes=["Heat (1995)", "Alien (1979)"]))
    Films that the same person loves:
    - Heat (1995)
    - Alien (1979)
    Another film this person loves:
    """
    if template not in TEMPLATES:
        raise ValueError(f"no template {template!r}; there are {', '.join(map(repr, TEMPLATES))}")
    text = TEMPLATES[template]
    wanted = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    if wanted != set(slots):
        raise ValueError(
            f"template {template!r} has the slots {sorted(wanted)}, got {sorted(slots)}"
        )
    lines = {}
    for name, words in slots.items():
        if isinstance(words, str):
            lines[name] = one_line(words)
            continue
        if not words:
            raise ValueError(f"slot {name!r} is an empty list")
        if name == "options" and len(words) > 26:
            raise ValueError(f"{len(words)} options, and 26 letters to name them")
        marks = [f"{a}." for a in string.ascii_uppercase] if name == "options" else ["-"]
        lines[name] = "\n".join(
            f"{mark} {one_line(item)}" for mark, item in zip(cycle(marks), words, strict=False)
        )
    return text.format(**lines)
