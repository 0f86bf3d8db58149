from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from subnetray.rollout.memory import Memory, question
from subnetray.rollout.sampling import Samples, Sampling


def _samples(tokens: int) -> Samples:
    return Samples([[1] * tokens], [[0.0] * tokens])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=60), st.integers(4, 12))
def test_the_latest_answers_within_the_limit_are_kept(asked: list[tuple[int, int]], limit: int) -> None:
    memory = Memory(limit)
    kept: list[tuple[int, int]] = []  # question and size, the latest last
    for number, size in asked:
        known = memory.recall(number)
        expected = next((each for each in kept if each[0] == number), None)
        assert (known is None) == (expected is None)
        if expected is not None and known is not None:
            assert len(known.completions[0]) == expected[1]
            kept.remove(expected)
            kept.append(expected)
            continue
        memory.keep(number, _samples(size))
        kept.append((number, size))
        while sum(each[1] for each in kept) > limit:
            kept.pop(0)


def test_a_question_is_all_that_decides_its_answer() -> None:
    sampling, other = Sampling(1.0, 4, seed=1), Sampling(1.0, 4, seed=2)
    prompts = [[1, 2], [3]]
    questions = {
        question("w", prompts, sampling, 0),
        question("x", prompts, sampling, 0),
        question("w", [[1], [2, 3]], sampling, 0),
        question("w", prompts, other, 0),
        question("w", prompts, sampling, 2),
    }
    assert len(questions) == 5
    assert question("w", [list(prompt) for prompt in prompts], Sampling(1.0, 4, seed=1), 0) in questions
