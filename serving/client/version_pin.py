"""The one version of a model that answers all chunks of a call, though a new one may take over meanwhile."""

from __future__ import annotations

from typing import Any

from serving.client.calls import Again
from serving.client.errors import UnexpectedAnswer

_ABSENCES = 32
"""So many in a row say that a version is gone; fewer, that a balancer asks servers of which some have it."""
_PAUSE_SECONDS = 0.05
_PATIENT_SECONDS = 1.0


class VersionGone(Exception):
    """No server behind the address has the version any more."""


class VersionPin:
    """The version that the caller names, or that of the first answer, which the requests after it name."""

    def __init__(self, version: int | None = None, *, patient: bool = False) -> None:
        """Pins `version` from the start; `patient` waits for it whatever happens, for its server may start anew."""
        self.version = version
        """None until an answer has named one."""
        self._is_fixed = version is not None
        self._waits = patient and self._is_fixed
        self._is_known = self._waits
        self._answered = False
        self._absences = 0

    def accepts(self, answer: Any, *, requested: int | None) -> bool:
        """Whether an answer is of the one version; the first makes its version that.

        Args:
          answer: a PredictResponse.
          requested: the version that its request named, if any.

        Raises:
          UnexpectedAnswer: if it is of another version than its request named, or only some answers name theirs.
        """
        self._absences = 0
        version = version_of(answer)
        if requested is not None:
            if version not in (None, requested):
                raise UnexpectedAnswer(f"The server answers with version {version} where {requested} was asked for.")
            self._is_known = True
            return True
        if not self._answered:
            self._answered = self._is_known = True
            self.version = version
        if (version is None) != (self.version is None):
            raise UnexpectedAnswer(f"Of the server's answers some name their version, {version or self.version}.")
        return version == self.version

    def again_if_absent(self) -> Again | None:
        """Decides about a request that met a server without the version: None where it is there for none.

        Raises:
          VersionGone: if the version of the first answer has been there for none of many requests in a row.
        """
        if not self._is_known:
            return None
        self._absences += 1
        if self._absences <= _ABSENCES:
            return Again(_PAUSE_SECONDS, counts=False)
        if self._waits:
            return Again(_PATIENT_SECONDS, counts=False)
        if self._is_fixed:
            return None
        raise VersionGone


def version_of(answer: Any) -> int | None:
    """Returns the version that an answer names, if any."""
    return answer.model_spec.version.value if answer.model_spec.HasField("version") else None
