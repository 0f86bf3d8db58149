"""Set the scene of a fault: the sweep as it is then, what came of it, and the same command again."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import tracked
from tests.chaos.command import LIMIT_S, TRACEBACK, Command
from tests.chaos.compare import differences, unfinished
from tests.chaos.grid import Layout
from tests.chaos.runs import Runs

SWEEP = (sys.executable, "-m", "subnetray.sweep")


class Skipped(Exception):
    """A fault that cannot be done on this machine; the text says why."""


@dataclass(frozen=True)
class Bench:
    """Directories of the harness under ``root``, and the undisturbed sweep that all others are compared with.

    Every command runs in the same directory, so that nothing in its results can differ by where they are.
    """

    root: Path
    grid: str = "chaos"
    rollout: str = "vllm"
    program: tuple[str, ...] = SWEEP
    inits: Path | None = None  # the cache; else SUBNETRAY_CACHE, or one of its own

    @property
    def layout(self) -> Layout:
        return Layout(self.root / "here", self.grid, self.rollout)

    @property
    def undisturbed(self) -> Path:
        return self.root / f"undisturbed-{self.grid}-{self.rollout}"

    @property
    def seconds(self) -> float | None:
        """The seconds of the undisturbed sweep; None while there is none."""
        noted = self.undisturbed.with_suffix(".seconds")
        return float(noted.read_text()) if noted.is_file() else None

    @property
    def temporary(self) -> Path:
        """The system's temporary directory, as commands are told; a short path, as sockets lie in it."""
        return self.root / "t"

    @property
    def cache(self) -> Path:
        """The directory of inits, which are no part of what is disturbed but for the fault that has them made."""
        return self.inits or Path(os.environ.get("SUBNETRAY_CACHE") or self.root / "cache")

    @property
    def logs(self) -> Path:
        """The directory of what the commands said."""
        return self.root / "logs"

    def clear(self, kept: bool = False) -> None:
        """A working directory as before the first command, or as after it if what it wrote is to be ``kept``."""
        shutil.rmtree(self.layout.directory, ignore_errors=True)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self.layout.write()
        if kept:
            shutil.copytree(self.undisturbed, self.layout.out, symlinks=True)


@dataclass
class Scene:
    """One fault, from before it until what came of it is known."""

    bench: Bench
    rng: random.Random
    logs: Path
    moment: str = ""
    problems: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    finished: bool = False  # the fault has given the same command itself, and compared
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = Runs(self.layout.out)
        self.logs.mkdir(parents=True, exist_ok=True)

    @property
    def layout(self) -> Layout:
        return self.bench.layout

    @property
    def out(self) -> Path:
        return self.layout.out

    @contextlib.contextmanager
    def command(
        self, words: Sequence[str] | None = None, variables: Mapping[str, str] | None = None
    ) -> Iterator[Command]:
        """The command, or the one with other ``words``; what it leaves running, or says of its own, counts."""
        own = {"TMPDIR": str(self.bench.temporary), "SUBNETRAY_CACHE": str(self.bench.cache)}
        command = Command(
            [*self.bench.program, *(words or self.layout.words)],
            self.layout.directory,
            self.logs / f"command-{len(self.commands) + 1}.txt",
            self.runs,
            own | dict(variables or {}),
        )
        self.commands.append(command)
        with command:
            yield command
        self.orphans += command.orphans
        self.expect(command.killed or TRACEBACK not in command.said, "it said a traceback")

    def end(self, command: Command, codes: Sequence[int], limit_s: float = LIMIT_S) -> None:
        """Wait for the command to end with one of ``codes``."""
        code = command.wait(limit_s)
        if code is None:
            self.problems.append(f"it did not end within {limit_s:g} s")
            command.kill_all()
        elif code not in codes:
            lines = command.said.strip().splitlines() or ["nothing"]
            wanted = " or ".join(map(str, codes))
            self.problems.append(f"exit code {code}, not {wanted}; its last words: {lines[-1][:160]}")

    def expect(self, held: bool, otherwise: str) -> None:
        """Note a problem unless something ``held``."""
        if not held:
            self.problems.append(otherwise)

    def conclude(self, whole: bool) -> None:
        """The same command, and then the same files. ``whole``: nothing was there before, so that W&B's are all new."""
        if not self.finished:
            with self.command() as command:
                self.end(command, [0])
            self.expect_equal(self.bench.undisturbed, self.out)
        self.runs.look()
        if whole:
            self.problems += _tracked(self.out, self.bench.undisturbed)
        self.problems += [f"left in the sweep: {name}" for name in unfinished(self.out)]
        self.problems += [f"left in the temporary directory: {name}" for name in leftovers(self.bench.temporary)]

    def expect_equal(self, expected: Path, found: Path) -> None:
        """Note every file that differs."""
        self.problems += differences(expected, found)

    def mount(self) -> None:
        """Make the sweep's directory a file system of its own, in memory, until all is over."""
        if os.geteuid() != 0:
            raise Skipped("only root may mount a file system")
        kept = self.bench.root / "kept"
        self.out.mkdir(exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.out, kept)
        done = _mount("-t", "tmpfs", "chaos", self.out)
        if done.returncode:
            raise Skipped(f"no file system may be mounted here: {done.stderr.strip()}")
        self.cleanup.callback(subprocess.run, ["umount", "--lazy", str(self.out)], check=False)
        shutil.copytree(kept, self.out, dirs_exist_ok=True)
        self.runs = Runs(self.out)  # other files than those that were seen

    def remount(self, option: str) -> None:
        """Change the file system that :meth:`mount` made."""
        done = _mount("-o", f"remount,{option}", self.out)
        assert done.returncode == 0, done.stderr


def leftovers(directory: Path) -> list[str]:
    """Directories and files that were left in a temporary directory, by the first two parts of their names."""
    names = {
        "/".join(path.relative_to(directory).parts[:2])
        for path in directory.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    return sorted(names)


def make_undisturbed(bench: Bench) -> tuple[float, list[str]]:
    """Run the sweep with nothing in its way: its seconds, and what is wrong with it all the same.

    Raises RuntimeError if it does not end well, as then there is nothing to compare with.
    """
    bench.clear()
    scene = Scene(bench, random.Random(0), bench.logs / "undisturbed")
    with scene.command() as command:
        scene.end(command, [0])
    if command.code != 0:
        raise RuntimeError(f"the undisturbed sweep did not end well: {command.said.strip()[-500:]}")
    shutil.rmtree(bench.undisturbed, ignore_errors=True)
    shutil.copytree(bench.layout.out, bench.undisturbed, symlinks=True)
    bench.undisturbed.with_suffix(".seconds").write_text(f"{command.seconds:.1f}")
    scene.problems += _tracked(scene.out, bench.undisturbed)
    return command.seconds, [*scene.problems, *(f"orphan: {each}" for each in scene.orphans)]


def _tracked(found: Path, undisturbed: Path) -> list[str]:
    """List what is wrong with W&B's files, if the undisturbed sweep has any."""
    if not (undisturbed / "wandb").is_dir():
        return []
    return tracked.problems(found / "wandb", tracked.steps(undisturbed))


def _mount(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
