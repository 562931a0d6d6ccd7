"""A picture shop with simulated shoppers, whose true tastes are known.

A log says what was clicked of what was shown, never what would have been clicked of the rest. Here
everything is known, so regret and bias can be measured. What the shop's models may see are the
pictures' encoder features; what decides the clicks are other, real properties of the same pictures:

    r_ui = sigmoid(theta_u . t_i + noise_ui)            would u click on picture i, once looked at
    P(click at slot j) = e_j r_ui,  e_j = (j + 1)^-eta  slots from 0: further down, fewer look

with t_i the traits of picture i (theme, keywords, colours, style; a constant first) and theta_u
shopper u's taste. Shoppers have all tastes of the crowd, some of their own, and two themes that
they love. With `swap` > 0 tastes drift: each day a shopper may drop one of the two for a new one.
With `new_per_day` > 0 the shop starts with fewer pictures, and the others arrive day by day. One
class draws all that, which makes the module long: its streams of random numbers hang together.
"""

import numpy as np

from recsys_tutorial._checks import check_shape, check_within
from recsys_tutorial.feedback.lists import top_slots
from recsys_tutorial.feedback.pictures import Pictures, load_pictures

__all__ = ["Pictures", "Shop", "load_pictures"]

# The tastes, in logits. Fixed before any policy was compared; see data/simulation/README.md.
INTERCEPT = -4.0
LOVED_THEME = 2.5
LOVED_KEYWORD = 1.0
CROWD = 0.25  # standard deviation of the taste that all share, per trait
OWN_LOOK = 0.3  # of one's own taste for a colour or a style
N_LOVED = 2  # themes, and keywords, that a shopper loves
NOISE = 0.3  # of what no trait explains
ETA = 0.7  # position bias


class Shop:
    """Simulated shoppers in front of the shelves; days go by with `next_day`.

    Parameters
    ----------
    pictures : Pictures, the catalogue
    n_shoppers : int >= 1
    seed : int; tastes, noise, drift, arrivals and clicks have streams of their own, so that a shop
        with drift starts as the one without
    n_slots : int, pictures in a list
    swap : float in [0, 1], probability that a shopper drops a loved theme for another on a day
    new_per_day : int, pictures that arrive each morning but the first
    n_days : int, for which arrivals are planned: the shop starts without those that are to come

    Attributes
    ----------
    day : int, from 0
    taste : ndarray (n_shoppers, n_traits), theta
    attraction : ndarray (n_shoppers, n_items), r: probabilities of a click on a picture looked at
    examination : ndarray (n_slots,), e
    arrival : ndarray (n_items,) int, the day each picture arrives (0: from the start)

    Raises
    ------
    ValueError
        For a `swap` that is no probability, a shop without shoppers, lists longer than the
        catalogue, or so many arrivals that the first day's lists cannot be filled.
    """

    def __init__(
        self,
        pictures: Pictures,
        n_shoppers: int = 1000,
        seed: int = 0,
        *,
        n_slots: int = 5,
        swap: float = 0.0,
        new_per_day: int = 0,
        n_days: int = 30,
    ):
        n_items = len(pictures.traits)
        check_within(0, 1, swap=swap)
        if n_shoppers < 1 or not 1 <= n_slots <= n_items:
            raise ValueError(f"no shop with {n_shoppers} shoppers and {n_slots} of {n_items} slots")
        if new_per_day < 0 or new_per_day * (n_days - 1) > n_items - n_slots:
            arrive = f"{new_per_day} new pictures a day for {n_days} days"
            raise ValueError(f"{arrive} leave fewer than {n_slots} of {n_items} to start with")
        self.pictures, self.n_shoppers, self.n_items = pictures, n_shoppers, n_items
        self.n_slots, self.swap, self.day = n_slots, swap, 0
        streams = np.random.SeedSequence(seed).spawn(5)
        tastes, noise, arrivals, self._drift, self._clicks = map(np.random.default_rng, streams)
        self.examination = np.arange(1, n_slots + 1) ** -ETA  # (n_slots,)
        self.noise = NOISE * noise.standard_normal((n_shoppers, n_items))
        self.arrival = np.zeros(n_items, dtype=np.int64)
        late = arrivals.permutation(n_items)[: new_per_day * (n_days - 1)]
        self.arrival[late] = 1 + np.arange(len(late)) // max(new_per_day, 1)
        self._draw_tastes(tastes)
        self.attraction = np.empty((n_shoppers, n_items))
        self._refresh(np.arange(n_shoppers))
        self.next_visit()

    def _draw_tastes(self, rng: np.random.Generator) -> None:
        n_traits = self.pictures.traits.shape[1]
        taste = np.tile(CROWD * rng.standard_normal(n_traits), (self.n_shoppers, 1))
        taste[:, 0] = INTERCEPT
        looks = self.pictures.columns("look")
        taste[:, looks] += OWN_LOOK * rng.standard_normal((self.n_shoppers, len(looks)))
        for kind, love in (("theme", LOVED_THEME), ("keyword", LOVED_KEYWORD)):
            columns = self.pictures.columns(kind)
            order = rng.random((self.n_shoppers, len(columns))).argsort(axis=1)
            loved = columns[order[:, :N_LOVED]]  # (n_shoppers, N_LOVED)
            taste[np.arange(self.n_shoppers)[:, None], loved] += love
            if kind == "theme":
                self.loved = loved
        self.taste = taste

    def _refresh(self, shoppers: np.ndarray) -> None:
        logits = self.taste[shoppers] @ self.pictures.traits.T  # (n_changed, n_items)
        logits += self.noise[shoppers]
        self.attraction[shoppers] = 1.0 / (1.0 + np.exp(-logits))

    @property
    def stock(self) -> np.ndarray:
        """(n_items,) bool: is the picture for sale today."""
        return self.arrival <= self.day

    def new(self, n_days: int) -> np.ndarray:
        """Which pictures arrived within the last days, today among them.

        Parameters
        ----------
        n_days : int >= 1

        Returns
        -------
        bool ndarray (n_items,); never those that were there from the start
        """
        return (self.arrival > 0) & (self.arrival > self.day - n_days) & self.stock

    def clicks(self, shown: np.ndarray) -> np.ndarray:
        """What shoppers click of today's lists.

        The same list gets the same clicks, whoever shows it: the luck of a shopper, slot and visit
        is drawn once. So policies are compared in pairs.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), item columns in stock, none twice in a row

        Returns
        -------
        bool ndarray (n_shoppers, n_slots)
        """
        return self._luck < self.click_probabilities(shown)

    def click_probabilities(self, shown: np.ndarray) -> np.ndarray:
        """The truth about each slot of today's lists: e_j r_ui.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), as for `clicks`

        Returns
        -------
        ndarray (n_shoppers, n_slots)
        """
        self._check(shown)
        return self.examination * self._attraction_of(shown)

    def expected_clicks(self, shown: np.ndarray) -> np.ndarray:
        """The truth that no log shows: the sum over slots of e_j r_ui.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), as for `clicks`

        Returns
        -------
        ndarray (n_shoppers,)
        """
        self._check(shown)
        return self._attraction_of(shown) @ self.examination

    def best(self) -> np.ndarray:
        """(n_shoppers, n_slots): the lists with the most expected clicks."""
        return top_slots(np.where(self.stock, self.attraction, -np.inf), self.n_slots)

    def next_day(self) -> None:
        """Go on to the next morning: tastes drift, pictures arrive, luck is drawn anew."""
        self.day += 1
        if self.swap:
            self._swap_loves()
        self.next_visit()

    def next_visit(self) -> None:
        """Shoppers come again, on the same day, with new luck."""
        self._luck = self._clicks.random((self.n_shoppers, self.n_slots))

    def _swap_loves(self) -> None:
        rng, themes = self._drift, self.pictures.columns("theme")
        # Drawn for all, used by those who swap, so that the stream never depends on who did.
        swaps = np.flatnonzero(rng.random(self.n_shoppers) < self.swap)
        which = rng.integers(N_LOVED, size=self.n_shoppers)[swaps]
        wish = rng.random((self.n_shoppers, len(themes)))[swaps]  # (n_swaps, n_themes)
        wish[(self.loved[swaps][:, :, None] == themes).any(axis=1)] = -np.inf  # not what is loved
        new = themes[wish.argmax(axis=1)]
        self.taste[swaps, self.loved[swaps, which]] -= LOVED_THEME
        self.taste[swaps, new] += LOVED_THEME
        self.loved[swaps, which] = new
        self._refresh(swaps)

    def _attraction_of(self, shown: np.ndarray) -> np.ndarray:
        return np.take_along_axis(self.attraction, shown, axis=1)  # (n_shoppers, n_slots)

    def _check(self, shown: np.ndarray) -> None:
        check_shape("shown", shown, (self.n_shoppers, self.n_slots))
        if shown.min() < 0 or shown.max() >= self.n_items or not self.stock[shown].all():
            raise ValueError(f"shown holds a picture that is not in stock on day {self.day}")
        ordered = np.sort(shown, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise ValueError("a list shows the same picture twice")
