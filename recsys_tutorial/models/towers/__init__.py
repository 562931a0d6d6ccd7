"""Parts to build towers from: each turns what it reads into vectors (n, dim) with gradients.

    IdTower              row number                  -> a learned vector of its own
    FeatureTower         row number                  -> fixed features -> head
    RawTower             row number                  -> fixed features as they are
    EncoderTower         row number                  -> its text or picture -> BERT or ViT -> head
    SumTower             row number                  -> the sum of other towers' vectors
    ConcatTower          row number                  -> other towers' vectors, one behind the other
    FusionTower          row number                  -> several modalities' vectors, fused
    HistoryTower         what a user liked (sparse)  -> the liked items' vectors, pooled
    PooledTower          what a user liked (sparse)  -> the liked items' features, pooled -> head
    TextHistoryTower     what a user liked (sparse)  -> their titles as one text -> BERT -> head

A tower over rows has `n_rows`, and `embed`, which does the same for things that have no row yet: a
new film's text, a query. A tower over histories has `reads_history = True`.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "encoder": ["EncoderTower", "TextHistoryTower"],
        "fusion": ["FusionTower"],
        "history": ["HistoryTower", "PooledTower"],
        "last_blocks": ["LastBlocksTower"],
        "modalities": ["gradient_norms", "modality_losses"],
        "rows": [
            "ConcatTower",
            "FeatureTower",
            "IdTower",
            "ProjectionHead",
            "RawTower",
            "SumTower",
        ],
    },
)
