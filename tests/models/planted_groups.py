"""Planted problems that the tests of two-towers share: groups of items that the same users like."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import sparse

from recsys_tutorial.evaluation import rank
from recsys_tutorial.models import TwoTower
from recsys_tutorial.models.towers import FeatureTower, HistoryTower, IdTower

WORDS = """
soup bread cake pasta cheese salad pie stew sauce pancake
rocket planet comet galaxy astronaut moon orbit telescope alien star
football tennis boxing swimming hockey cycling running golf rugby skiing
violin piano guitar drum opera jazz trumpet choir flute orchestra
"""
SUBJECTS = [line.split() for line in WORDS.strip().splitlines()]  # food, space, sport, music
COLOURS = ["crimson", "seagreen", "royalblue", "gold", "purple"]
N_GROUPS, N_EACH = 4, 10


def picture(group: int, number: int) -> Image.Image:
    """A disc, stripes, a chequerboard or a cross; colour, size and place say nothing."""
    image = Image.new("RGB", (56, 56), "white")
    draw, colour = ImageDraw.Draw(image), COLOURS[number % 5]
    size, left = 22 + 2 * number, 2 + number % 5
    if group == 0:
        draw.ellipse((left, 4, left + size, 4 + size), fill=colour)
    elif group == 1:
        for x in range(left, 56, 10):
            draw.rectangle((x, 0, x + 4, 56), fill=colour)
    elif group == 2:
        for x in range(0, 56, 14):
            for y in range((x // 14) % 2 * 14, 56, 28):
                draw.rectangle((x, y, x + 13, y + 13), fill=colour)
    else:
        draw.rectangle((left, 24, left + size, 31), fill=colour)
        draw.rectangle((left + size // 2 - 4, 4, left + size // 2 + 4, 4 + size), fill=colour)
    return image


class Problem:
    """40 items in 4 groups, shuffled; only `shown_by` gives an item's group away.

    "text" and "picture": the last 3 items of each group are new: nobody has liked one in training,
    and they are what is to be found. "ids": all items are known, and look the same.
    """

    def __init__(self, shown_by: str, bert, vit):
        rng = np.random.default_rng(1)
        group = np.repeat(np.arange(N_GROUPS), N_EACH)
        number = np.tile(np.arange(N_EACH), N_GROUPS)
        order = rng.permutation(len(group))
        self.group, number = group[order], number[order]
        self.new = (number >= N_EACH - 3) if shown_by != "ids" else np.zeros(len(group), dtype=bool)
        words = [
            SUBJECTS[g][n] if shown_by == "text" else "a thing"
            for g, n in zip(self.group, number, strict=True)
        ]
        pictures = [
            picture(g, n) if shown_by == "picture" else picture(0, 0)
            for g, n in zip(self.group, number, strict=True)
        ]
        self.text, self.picture = bert.encode(words), vit.encode(pictures)
        # Each user likes 6 of the 7 known items of one group (of all 10 where none is new).
        rows = []
        for user in range(80):
            own = np.flatnonzero((self.group == user % N_GROUPS) & ~self.new)
            rows.append(np.isin(np.arange(len(group)), rng.permutation(own)[:6]))
        self.train = sparse.csr_matrix(np.array(rows, dtype=float))
        shown = []  # new users, who show 3 items of their group
        for user in range(40):
            own = np.flatnonzero((self.group == user % N_GROUPS) & ~self.new)
            shown.append(np.isin(np.arange(len(group)), rng.permutation(own)[:3]))
        self.history = sparse.csr_matrix(np.array(shown, dtype=float))

    def model(self, reads: str, seed: int = 0) -> TwoTower:
        torch.manual_seed(seed)

        def tower():
            if reads == "ids":
                return IdTower(len(self.group), 8)
            return FeatureTower(self.text if reads == "text" else self.picture, 8)

        return TwoTower(HistoryTower(tower()), tower())

    def solved(self, model) -> float:
        """Share of the first 3 recommendations that are of the user's group; 0.25 by chance."""
        scores = model.score(self.history)
        scores[:, ~self.new] = -np.inf if self.new.any() else scores[:, ~self.new]
        ranked = rank(scores, self.history, 3)
        return float((self.group[ranked] == (np.arange(40) % N_GROUPS)[:, None]).mean())
