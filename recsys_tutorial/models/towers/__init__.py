"""Parts to build towers from: each turns what it reads into vectors (n, dim) with gradients.

    IdTower              row number                  -> a learned vector of its own
    FeatureTower         row number                  -> fixed features -> head
    RawTower             row number                  -> fixed features as they are
    EncoderTower         row number                  -> its text or picture -> BERT or ViT -> head
    SumTower             row number                  -> the sum of other towers' vectors
    FusionTower          row number                  -> several modalities' vectors, fused
    HistoryTower         what a user liked (sparse)  -> the liked items' vectors, pooled
    TextHistoryTower     what a user liked (sparse)  -> their titles as one text -> BERT -> head

A tower over rows has `n_rows`, and `embed`, which does the same for things that have no row yet: a
new film's text, a query. A tower over histories has `reads_history = True`.
"""

from recsys_tutorial.models.towers.encoder import EncoderTower, TextHistoryTower
from recsys_tutorial.models.towers.fusion import FusionTower
from recsys_tutorial.models.towers.history import HistoryTower
from recsys_tutorial.models.towers.last_blocks import LastBlocksTower
from recsys_tutorial.models.towers.modalities import gradient_norms, modality_losses
from recsys_tutorial.models.towers.rows import (
    FeatureTower,
    IdTower,
    ProjectionHead,
    RawTower,
    SumTower,
)

__all__ = [
    "EncoderTower",
    "FeatureTower",
    "FusionTower",
    "HistoryTower",
    "IdTower",
    "LastBlocksTower",
    "ProjectionHead",
    "RawTower",
    "SumTower",
    "TextHistoryTower",
    "gradient_norms",
    "modality_losses",
]
