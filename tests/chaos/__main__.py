"""``python -m tests.chaos --seed 0``: disturb a sweep, give the same command again, and compare.

Exit codes: 0 nothing was lost, repeated or left, and all files are equal; 1 something was; 2 bad arguments.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.command import told_to_end
from tests.chaos.faults import FAULTS
from tests.chaos.grid import GRIDS
from tests.chaos.random_kills import RandomKills
from tests.chaos.report import HEADER, Outcome, append, line, summary
from tests.chaos.run import draw, suffer
from tests.chaos.scene import Bench, make_undisturbed

_LONGEST = 40  # of a path in which Ray makes sockets, whose own paths may have 107 characters


def main() -> int:
    """Entry point; returns the exit code."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_end.set())
    root = options.root or Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    root = root.absolute()
    if len(str(root)) > _LONGEST:
        print(f"chaos: --root must be a path of at most {_LONGEST} characters, for Ray's sockets", file=sys.stderr)
        return 2
    root.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    well = True
    try:
        if options.kill_at_random:
            killed = RandomKills(root, tuple(shlex.split(options.command)), _say)
            for seed in options.seed:
                outcomes.append(killed.run(options.kill_at_random, seed, options.undisturbed))
                _say(f"{HEADER}\n{line(outcomes[-1])}")
        else:
            bench = Bench(root, options.grid, options.rollout)
            well = _prepare(bench)
            for seed in options.seed:
                outcomes += _disturb(bench, seed, options)
        well = well and all(each.well for each in outcomes)
        return 0 if well else 1
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1
    finally:
        if options.root is None and outcomes and well:
            shutil.rmtree(root, ignore_errors=True)
        else:
            _say(f"what the commands said is in {root / 'logs'}")


def _disturb(bench: Bench, seed: int, options: argparse.Namespace) -> list[Outcome]:
    """The faults of one seed."""
    outcomes = []
    _say(HEADER)
    for number, name in enumerate(draw(seed, options.faults, options.kinds)):
        outcomes.append(suffer(bench, FAULTS[name], seed, number))
        _say(line(outcomes[-1]))
        append(options.json or bench.root / "outcomes.jsonl", outcomes[-1])
    _say(f"seed {seed}: {summary(outcomes)}")
    return outcomes


def _prepare(bench: Bench) -> bool:
    """Make the undisturbed sweep, unless there is one from before; whether nothing was wrong with it."""
    if bench.seconds is not None:
        return True
    seconds, problems = make_undisturbed(bench)
    _say(f"undisturbed: {seconds:.0f} s")
    for problem in problems:
        _say(f"    {problem}")
    return not problems


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="decides which faults, when, and of what")
    parser.add_argument("--faults", type=int, help="how many (20; with --kinds one of each)")
    parser.add_argument("--kinds", default="", help=f"of these alone: {', '.join(FAULTS)}")
    parser.add_argument("--grid", choices=sorted(GRIDS), default="chaos", help="chaos: 20 runs; small: 6")
    parser.add_argument("--rollout", choices=("vllm", "hf"), default="vllm")
    parser.add_argument(
        "--root", type=Path, help="kept, with the undisturbed sweep, for a next time with the same code"
    )
    parser.add_argument("--json", type=Path, help="where lines of JSON go (ROOT/outcomes.jsonl)")
    parser.add_argument("--kill-at-random", type=int, default=0, metavar="N", help="kill --command N times instead")
    parser.add_argument("--command", default="+grid=origins", help="words of the sweep that is killed at random")
    parser.add_argument("--undisturbed", type=Path, help="a directory to compare with (made, if not given)")
    options = parser.parse_args()
    options.kinds = [name for name in options.kinds.split(",") if name]
    if unknown := [name for name in options.kinds if name not in FAULTS]:
        parser.error(f"--kinds: there is no {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    if options.faults is None:
        options.faults = len(options.kinds) or 20
    return options


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
