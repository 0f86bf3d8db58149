"""The tests' W&B server in the ways in which a sweep meets it: it refuses, is silent, or goes away once a run began."""

from __future__ import annotations

from tests.driver import wandb_server

_FAULTS: dict[str, int | str | None] = {"unauthorised": 401, "broken": 500, "silent": "silent", "well": None}


class Server:
    """Serves at ``url`` while it is entered.

    ``way``: ``closed`` (nobody listens), ``unauthorised`` (401 to everything), ``broken`` (500), ``silent`` (requests
    are taken and never answered), ``well`` (all is answered, until :meth:`die`).
    """

    def __init__(self, way: str) -> None:
        self._server = wandb_server.Server(_FAULTS.get(way))
        self._dead = False
        if way == "closed":
            self.die()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def asked(self) -> int:
        """The number of requests."""
        return self._server.requests

    @property
    def logged(self) -> int:
        """The number of steps of runs that it has taken."""
        return sum(len(run.lines) for run in self._server.runs.values())

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that make W&B send its data here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": wandb_server.KEY}

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Serve nobody any more: connections that are open are cut at the next request, new ones refused."""
        if not self._dead:
            self._dead = True
            self._server.fault = "gone"
            self._server.close()
