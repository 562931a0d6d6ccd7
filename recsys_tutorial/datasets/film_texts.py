"""A film in words, as the text encoders of all chapters read it."""

import pandas as pd


def film_texts(items: pd.DataFrame) -> list[str]:
    """What a text encoder reads of each film: "The Matrix (1999). Action, Sci-Fi".

    MovieLens sorts titles by their first word that is no article, "Matrix, The (1999)"; here the
    article is back in front, where the texts that BERT has read have it. Articles of other
    languages, and those before a second title in parentheses, stay where they are.

    Parameters
    ----------
    items : DataFrame with the columns `title` (str, with the year) and `genres` (str, joined by
        "|", or "(no genres listed)"), a row per film

    Returns
    -------
    list of str, one per row, in their order; after the period stands nothing when a film has no
    genres

    Raises
    ------
    KeyError
        When `items` lacks one of the two columns.

    Examples
    --------
    >>> film_texts(pd.DataFrame({"title": ["Matrix, The (1999)"], "genres": ["Action|Sci-Fi"]}))
    ['The Matrix (1999). Action, Sci-Fi']
    """
    title = items["title"].str.replace(r"^(.+), (The|A|An) \((\d{4})\)$", r"\2 \1 (\3)", regex=True)
    genres = items["genres"].where(items["genres"] != "(no genres listed)", "")
    return (title + ". " + genres.str.replace("|", ", ")).tolist()
