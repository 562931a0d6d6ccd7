"""Losses: pure functions of tensors that return a scalar to minimise.

They compute in float32 or float64: half precision is brought to float32, autocast is off inside.

When is which right, and what to beware of:

    info_nce               vectors are trained, and a batch holds many negatives. Beware of false
                           negatives: `positive_ids` and `mask` leave them out.
      log_q=               negatives come from the batch, that is by popularity; without it popular
                           items are pushed away for being drawn. Beware: q has to be known.
      hardness=            most negatives are easy. Beware: false negatives count for more, too.
      decoupled=True       batches are small, where easy positives mute their negatives' gradient.
    info_nce_in_chunks     the batch is so large that its scores, batch x batch, do not fit.
    multi_positive_nce     labels, series or users give an anchor several positives.
    sampled_softmax_loss   a catalogue too large for `multinomial_loss`, negatives drawn on purpose.
                           Beware of its bias, about 1 / n_negatives.
    multinomial_loss       every item can be scored: no negatives, no bias, (batch, n_items) scores.
    bpr_loss               the order alone counts. Beware: easy negatives teach nothing.
    bce_loss               a score is to be read as a probability. Beware: its level moves with the
                           number of negatives, and each pair is judged alone.
    gbce_loss              the same with few negatives of a large catalogue: their number is
                           reckoned with. Beware: they must be drawn evenly.

How they hang together (each is tested): `bpr_loss` is `info_nce` with one negative. Many negatives
drawn evenly make `info_nce` an estimate of cross-entropy over the catalogue, and
`sampled_softmax_loss` is `info_nce` with `negative_log_q` = log(n q) and `log_q` = 0.
`multi_positive_nce` with one positive each is `info_nce`; with `decoupled`, the gradient of
`info_nce` loses its factor 1 - p(positive).

`temperature` divides the scores; where other libraries multiply by a `scale` (CLIP's
`logit_scale.exp()`, the `scale=20` of sentence-transformers' MultipleNegativesRankingLoss), it is
1 / temperature: a scale of 20 is a temperature of 0.05.
"""

from recsys_tutorial._imports.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "chunked": ["info_nce_in_chunks"],
        "contrastive": ["info_nce", "multi_positive_nce"],
        "lists": [
            "distillation_loss",
            "listwise_loss",
            "margin_mse",
            "pairwise_loss",
            "pointwise_loss",
        ],
        "scores": [
            "bce_loss",
            "bpr_loss",
            "gbce_loss",
            "multinomial_loss",
            "sampled_softmax_loss",
        ],
    },
)
