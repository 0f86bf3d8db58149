"""Which run next: one whose mask is made of another's waits for that one, and for nothing else.

A run that draws rollouts while it trains leaves its core to the engines for a third of its time, in which two such runs
often wait for each other. So one that draws none goes beside it, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping


class Order:
    """Gives out every run once, or refuses it, each after its source has ended: in the order that they are given in,
    save that those that are among ``drawing`` go beside others.

    ``sources``: the runs to do, each with its source or None; a source that is none of them has ended already.
    ``problem`` says why no mask can be made of a run that has ended, as in "failed: no memory", or None. ``refuse`` is
    told of every run that is refused, and why: as a source that cannot be used is a reason to refuse, and not to wait,
    nothing waits for ever.
    """

    def __init__(
        self,
        sources: Mapping[str, str | None],
        problem: Callable[[str], str | None],
        refuse: Callable[[str, str], None],
        drawing: Collection[str] = (),
    ) -> None:
        self._waiting = dict(sources)
        self._drawing = frozenset(drawing)
        self._problem, self._refuse = problem, refuse
        self._running: set[str] = set()
        self._refused: dict[str, str] = {}

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to give out."""
        return not self._waiting

    def next(self) -> str | None:
        """A run that can start; None while all that are left wait for runs that have not ended."""
        held = self._waiting, self._running
        while True:
            ready = [run_id for run_id, source in self._waiting.items() if not any(source in each for each in held)]
            if not ready:
                return None
            drawing = len(self._running & self._drawing)
            others = len(self._running) - drawing
            fitting = (
                run_id for run_id in ready if drawing == others or (run_id in self._drawing) == (drawing < others)
            )
            run_id = next(fitting, ready[0])
            source = self._waiting.pop(run_id)
            reason = None if source is None else self._refused.get(source) or self._problem(source)
            if reason is None:
                self._running.add(run_id)
                return run_id
            text = f"its mask is that of run {source}, which {reason}"
            self._refused[run_id] = f"failed: {text}"
            self._refuse(run_id, text)

    def ended(self, run_id: str) -> None:
        """A run that was given out has ended, well or not."""
        self._running.discard(run_id)
