"""``python -m subnetray.doctor [--json]``: say what is wrong with an installation and a machine, and what to do.

One line an item: ``ok``, ``note`` (it works, and could be better) or ``problem``. It takes at most five seconds, starts
nothing, and shows no secret. Exit codes: 0 nothing is a problem; 1 something is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Sequence

from subnetray.doctor import hardware, software, surroundings
from subnetray.doctor.finding import Check, Finding
from subnetray.text import LINE, reason

# A check more is a function more here.
CHECKS: tuple[Check, ...] = (
    software.packages,
    hardware.processor,
    hardware.cores_and_memory,
    hardware.gpus,
    hardware.shared_memory,
    hardware.limits,
    surroundings.disks,
    surroundings.home,
    surroundings.caches,
    surroundings.left_behind,
    surroundings.launchers,
    software.wandb,
)
_PATIENCE_S = 4.0


def main(arguments: Sequence[str] | None = None, prog: str = "python -m subnetray.doctor") -> int:
    """Entry point, called as ``prog``; returns the exit code."""
    first, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog=prog, description=first.replace("python -m subnetray.doctor", prog))
    parser.add_argument("--json", action="store_true", help="a list of objects with status, what and do")
    options = parser.parse_args(arguments)
    findings = examine(CHECKS)
    if options.json:
        print(json.dumps([dataclasses.asdict(each) for each in findings], indent=1, ensure_ascii=False))
    else:
        for each in findings:
            print(each)
    return int(any(each.status == "problem" for each in findings))


def examine(checks: Sequence[Check], patience_s: float = _PATIENCE_S) -> list[Finding]:
    """Run all checks, in their order; one that fails, or is not done in time, is a finding too."""
    found: dict[Check, list[Finding]] = {}

    def look(check: Check) -> None:
        try:
            found[check] = list(check())
        except Exception as error:
            what = f"{_name(check)} could not be looked at ({reason(error, LINE)})"
            found[check] = [Finding("problem", what)]

    # A disk or a server that hangs must not hold up the others, nor the end of this process.
    threads = [threading.Thread(target=look, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    until = time.monotonic() + patience_s
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = "a disk or a server does not answer"
    return [
        each
        for check in checks
        for each in found.get(check, [Finding("note", f"{_name(check)} took longer than {patience_s:g} s", late)])
    ]


def _name(check: Check) -> str:
    return getattr(check, "__name__", "a check").replace("_", " ")


if __name__ == "__main__":
    sys.exit(main())
