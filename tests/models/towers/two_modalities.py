"""Nine things with words, and pictures that some of them lack."""

import numpy as np
import torch
from torch import nn

from recsys_tutorial.models.towers import FeatureTower, FusionTower

RNG = np.random.default_rng(0)
WORDS, PICTURE = RNG.normal(size=(9, 5)), RNG.normal(size=(9, 7))
LACKS = np.arange(9) % 3 == 0  # these have no picture


def build(how, *, words=WORDS, picture=PICTURE, present=None, seed=0, **options):
    """Two modalities in float64 whose weights are all random, gate included."""
    torch.manual_seed(seed)
    towers = {"words": FeatureTower(words, 4), "picture": FeatureTower(picture, 4)}
    tower = FusionTower(towers, how=how, present=present, **options).double()
    for parameter in tower.parameters():
        nn.init.normal_(parameter)
    return tower.eval()
