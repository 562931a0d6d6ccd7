"""Which version answers whom: one is on, a share of users may be given another, and back."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from recsys_tutorial._files import whole
from recsys_tutorial.serving.service.artefacts import ArtefactError
from recsys_tutorial.serving.service.engine import Engine


def in_candidate(user_id: str, share: float, salt: str = "") -> bool:
    """Whether a user is among the share that a candidate answers: always the same, for one salt.

    A hash of the name decides, so nothing has to be stored, any server says the same, and who is
    in a share stays in any larger one.

    Parameters
    ----------
    user_id : str
    share : float, 0 to 1
    salt : str, another one deals the users anew

    Returns
    -------
    bool, True for about that share of all names

    Examples
    --------
    >>> [in_candidate(user, 0.5) for user in ("ann", "ben", "cleo", "dan")]
    [False, True, True, True]
    """
    digest = hashlib.sha256(f"{salt}\n{user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


@dataclass(frozen=True)
class Plan:
    """What is written down of a deployment: names alone.

    Attributes
    ----------
    stable : str, the version that is on
    previous : str or None, the one that was on before, for the way back
    candidate : str or None, the version that a share of the users is given
    share : float, 0 to 1
    """

    stable: str
    previous: str | None = None
    candidate: str | None = None
    share: float = 0.0


class Deployment:
    """The versions that are loaded, and the plan of who gets which.

    A change loads and checks the new version first and then replaces the plan in one step. A
    request asks once, at its beginning, and keeps the engine that it was given: it ends with the
    version that it began with, and an engine that nobody holds any more is gone.

    Parameters
    ----------
    versions : Path, folder of the versions' folders
    path : Path, where the plan is written, whole or not at all
    load : callable Path -> Engine
    first : str or None, the version to begin with where no plan is written yet; the first in the
        alphabet by default

    Raises
    ------
    ArtefactError
        When there is no version, or one of the plan is damaged.
    """

    def __init__(
        self,
        versions: Path,
        path: Path,
        load: Callable[[Path], Engine],
        first: str | None = None,
    ):
        self._versions, self._path, self._load = versions, path, load
        names = self.names()
        if not names:
            raise ArtefactError(f"{versions} holds no version of a model: train one first")
        self._changing = threading.Lock()
        plan = self._read() or Plan(first or names[0])
        # One pair that is replaced as a whole: no reader sees the plan without its engines.
        self._now = plan, self._engines_of(plan, {})

    @property
    def plan(self) -> Plan:
        """Who gets which version."""
        return self._now[0]

    @property
    def loaded(self) -> dict[str, Engine]:
        """{name: engine} of the versions that answer now."""
        return self._now[1]

    def names(self) -> list[str]:
        """The versions that there are, in the order of the alphabet."""
        return sorted(path.parent.name for path in self._versions.glob("*/manifest.json"))

    def engine_for(self, user_id: str | None) -> tuple[Engine, str]:
        """Who answers this user: the candidate's name is the salt, so each trial deals anew.

        Parameters
        ----------
        user_id : str or None for nobody in particular

        Returns
        -------
        engine : Engine
        arm : "stable" or "candidate"
        """
        plan, engines = self._now
        if plan.candidate and user_id and in_candidate(user_id, plan.share, plan.candidate):
            return engines[plan.candidate], "candidate"
        return engines[plan.stable], "stable"

    def activate(self, name: str) -> None:
        """Put a version on; the one before is the way back, and a candidate of that name ends.

        Parameters
        ----------
        name : str

        Raises
        ------
        KeyError when there is no such version, ArtefactError when it is damaged; nothing changes.
        """
        with self._changing:
            plan = self.plan
            if name == plan.stable:
                return
            candidate = None if plan.candidate == name else plan.candidate
            self._change(Plan(name, plan.stable, candidate, plan.share if candidate else 0.0))

    def roll_back(self) -> None:
        """Put the version back on that was on before.

        Raises
        ------
        KeyError when there is none, ArtefactError as `activate`.
        """
        if self.plan.previous is None:
            raise KeyError("no version was on before this one")
        self.activate(self.plan.previous)

    def try_out(self, name: str | None, share: float = 0.0) -> None:
        """Give a version to a share of the users; None ends it.

        Parameters
        ----------
        name : str or None
        share : float, 0 to 1

        Raises
        ------
        ValueError when it is the version that is on; KeyError and ArtefactError as `activate`.
        """
        with self._changing:
            if name is not None and name == self.plan.stable:
                raise ValueError(f"{name} is the version that is on: a candidate is another one")
            share = share if name else 0.0
            self._change(replace(self.plan, candidate=name, share=share))

    def _change(self, plan: Plan) -> None:
        engines = self._engines_of(plan, self._now[1])
        with whole(self._path) as temporary:
            temporary.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        self._now = plan, engines

    def _engines_of(self, plan: Plan, loaded: dict[str, Engine]) -> dict[str, Engine]:
        names, there = [name for name in (plan.stable, plan.candidate) if name], self.names()
        for name in names:
            if name not in there:
                raise KeyError(f"there is no version {name!r}: only {', '.join(there)}")
        return {name: loaded.get(name) or self._load(self._versions / name) for name in names}

    def _read(self) -> Plan | None:
        try:
            return Plan(**json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ArtefactError(f"{self._path} is damaged ({error}): remove it") from error
