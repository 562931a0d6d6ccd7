"""What the towers that run an encoder share: while it is frozen, it has no dropout."""

from __future__ import annotations

from torch import nn


class WithEncoder(nn.Module):
    """A tower whose `encoder` stays in evaluation mode, without dropout, while it is frozen."""

    def train(self, mode: bool = True) -> WithEncoder:
        """Set training mode; return self.

        Parameters
        ----------
        mode : bool, False for evaluation mode
        """
        super().train(mode)
        self.encoder.train(mode and bool(self.encoder.n_trainable))
        return self
