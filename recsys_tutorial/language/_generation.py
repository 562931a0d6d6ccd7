"""What a model writes: freely, or along a tree of titles.

The other beam search, `models._code_beams`, writes words in step for blocks of users; here beams of
one prompt end at different lengths, which is why neither is made of the other.
"""

from __future__ import annotations

import torch

from recsys_tutorial.language._states import with_cache
from recsys_tutorial.language.titles import TitleTrie


def continue_freely(model, tokens: list[int], max_tokens: int, stop: str) -> str:
    """The likeliest token each time, up to `stop`, the end token or `max_tokens`.

    Parameters
    ----------
    model : LanguageModel
    tokens : list of int, the prompt's
    max_tokens : int
    stop : str

    Returns
    -------
    str, without `stop`
    """
    last, cache = model.read(tokens)
    end = model.tokenizer.eos_token_id
    written: list[int] = []
    text = ""
    for _ in range(max_tokens):
        token = int(model.next_log_probabilities((last, cache), [[]])[0].argmax())
        if token == end:
            break
        written.append(token)
        text = model.tokenizer.decode(written)
        if stop and stop in text:
            break
        states = model.model.base_model(
            input_ids=torch.tensor([[token]], device=model.device),
            use_cache=True,
            **with_cache(model.model, cache),
        )
        last = states.last_hidden_state[0, -1]
    return text.partition(stop)[0] if stop else text


def best_titles(
    model, tokens: list[int], titles: TitleTrie, n_beams: int
) -> list[tuple[str, float]]:
    """Titles by log p(title, line break | prompt), as far as a beam search finds them.

    Parameters
    ----------
    model : LanguageModel
    tokens : list of int, the prompt's
    titles : TitleTrie
    n_beams : int, beginnings that are kept at each length

    Returns
    -------
    list of (title, log-likelihood), the best first, at least 1 and at most n_beams
    """
    shared = model.read(tokens)
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, str]] = []
    while beams:
        following = model.next_log_probabilities(shared, [tail for _, tail in beams])
        longer = []
        for (score, tail), row in zip(beams, following, strict=True):
            allowed = titles.allowed(tail)
            values = row[torch.tensor(allowed, device=row.device)].double().tolist()
            longer += [(score + x, [*tail, t]) for t, x in zip(allowed, values, strict=True)]
        longer.sort(key=lambda beam: (-beam[0], beam[1]))
        beams = []
        for score, tail in longer[:n_beams]:
            if (title := titles.title(tail)) is not None:
                ended.append((score, title))
            else:
                beams.append((score, tail))
        ended = sorted(ended, key=lambda pair: (-pair[0], pair[1]))[:n_beams]
        if len(ended) == n_beams:  # a longer beginning only loses by going on
            beams = [beam for beam in beams if beam[0] > ended[-1][0]]
    return [(title, score) for score, title in ended]
