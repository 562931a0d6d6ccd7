"""Items as short codes of a few words each, which a model can write: semantic IDs.

A code is a row of whole numbers, one codeword a level, from coarse to fine: items that are alike
begin alike. `residual_kmeans` and `RQVAE` make codes from vectors, `with_extra_level` tells apart
what they put together, `codebook_usage`, `collision_rate` and `prefix_purity` say what the codes
are worth, and `CodeTree` knows which codes exist and whose they are.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "measures": ["codebook_usage", "collision_rate", "prefix_purity", "with_extra_level"],
        "residual": ["nearest_codewords", "residual_kmeans"],
        "rq_vae": ["RQVAE"],
        "tree": ["CodeTree"],
    },
)
