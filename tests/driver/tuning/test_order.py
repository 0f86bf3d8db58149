"""Runs that wait for others: whatever waits for whatever and whatever fails, all are given out or refused, once."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from subnetray.driver.tuning.order import Order


@st.composite
def dags(draw: st.DrawFn) -> tuple[dict[str, str | None], set[str], set[str]]:
    """Runs in any order, each with its source or None, or one that ended before; which of all of them fail."""
    ended = {f"ended{index}" for index in range(draw(st.integers(0, 2)))}
    sources: dict[str, str | None] = {}
    for index in range(draw(st.integers(1, 12))):
        sources[f"run{index}"] = draw(st.sampled_from([None, *sorted(ended), *sources]))
    order = draw(st.permutations(sorted(sources)))
    fail = draw(st.sets(st.sampled_from(sorted({*sources, *ended}))))
    return {run_id: sources[run_id] for run_id in order}, ended, fail


@given(dags(), st.integers(1, 4), st.randoms(use_true_random=False), st.sets(st.integers(0, 11)))
def test_every_run_is_given_out_after_its_source_or_refused_for_its_failure(
    dag: tuple[dict[str, str | None], set[str], set[str]], at_once: int, random: Random, drawing: set[int]
) -> None:
    sources, ended, fail = dag
    ended = set(ended)
    given_out: list[str] = []
    refused: dict[str, str] = {}

    def problem(run_id: str) -> str | None:
        assert run_id in ended
        return "failed: no memory" if run_id in fail else None

    order = Order(
        sources, problem, lambda run_id, reason: refused.update({run_id: reason}), {f"run{index}" for index in drawing}
    )
    running: list[str] = []
    while True:
        while len(running) < at_once and (run_id := order.next()) is not None:
            source = sources[run_id]
            assert source is None or (source in ended and source not in fail)
            running.append(run_id)
            given_out.append(run_id)
        if not running:
            break  # nothing runs, and nothing can start: it must be the end
        run_id = running.pop(random.randrange(len(running)))
        ended.add(run_id)
        order.ended(run_id)
    assert order.finished
    assert sorted([*given_out, *refused]) == sorted(sources)
    broken = set(fail)
    for _ in sources:
        broken |= {run_id for run_id, source in sources.items() if source in broken}
    assert set(refused) == {run_id for run_id, source in sources.items() if source in broken}
    for run_id, reason in refused.items():
        assert reason.startswith(f"its mask is that of run {sources[run_id]}, which failed: ")
        assert reason.endswith("failed: no memory")


def test_runs_without_sources_come_in_the_order_that_they_are_given_in() -> None:
    order = Order(dict.fromkeys("cab"), lambda _: "failed", lambda *_: None)
    assert [order.next() for _ in range(4)] == ["c", "a", "b", None]


def test_a_run_overtakes_those_before_it_that_wait() -> None:
    order = Order({"waits": "source", "source": None, "free": None}, lambda _: None, lambda *_: None)
    assert [order.next(), order.next(), order.next()] == ["source", "free", None]
    order.ended("free")
    assert order.next() is None
    assert not order.finished
    order.ended("source")
    assert order.next() == "waits"
    assert order.finished


def test_a_run_that_draws_rollouts_goes_beside_one_that_does_not() -> None:
    order = Order(dict.fromkeys("abcxyz"), lambda _: None, lambda *_: None, drawing="abc")
    assert [order.next(), order.next()] == ["a", "x"]
    order.ended("x")
    assert order.next() == "y"
    order.ended("a")
    assert order.next() == "b"
    order.ended("y")
    order.ended("b")
    assert [order.next() for _ in range(3)] == ["c", "z", None]


def test_where_there_are_none_of_the_other_kind_runs_keep_their_order() -> None:
    order = Order(dict.fromkeys("abc"), lambda _: None, lambda *_: None, drawing="abc")
    assert [order.next() for _ in range(3)] == ["a", "b", "c"]
