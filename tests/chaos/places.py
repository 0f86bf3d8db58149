"""A sweep's directory that is full, that cannot be written to, or that two commands want."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.chaos.command import Missed
from tests.chaos.faults import fault
from tests.chaos.scene import Scene

# A command that is refused ends long before a sweep would begin.
_REFUSED_S = 30.0


@fault("disk-full", tracked=False)
def disk_full(scene: Scene) -> None:
    """The disk had room when the sweep began, and is full before it is done."""
    share = scene.rng.uniform(0.1, 0.9)
    room = int(share * _used(scene.bench.undisturbed))
    scene.mount()
    with scene.command() as command:
        command.until(lambda: (scene.out / "sweep.yaml").exists() or None, "the directory was taken")
        scene.remount(f"size={room}")
        scene.end(command, [1])
        if command.code == 0:
            raise Missed(f"all had room in {room} bytes")
        scene.expect("space" in command.said, "it did not say that there is no space")
    scene.moment = f"room for {share:.0%} of the results, {len(scene.runs.done)} done"
    scene.remount("size=1g")


@fault("read-only", after=True)
def read_only(scene: Scene) -> None:
    """The directory can be read and not be written to, and a run of it is missing."""
    run = scene.rng.choice(sorted((scene.out / "runs").iterdir()))
    shutil.rmtree(run)
    scene.mount()
    scene.runs.look()
    scene.remount("ro")
    with scene.command() as command:
        scene.end(command, [1, 2], limit_s=_REFUSED_S)
    lines = command.said.strip().splitlines()
    scene.expect(str(scene.out) in command.said, "it did not name the directory")
    scene.expect(len(lines) <= 2, f"it took {len(lines)} lines to say so")
    scene.remount("rw")
    scene.moment = f"without run {run.name}"


@fault("two-drivers")
def two_drivers(scene: Scene) -> None:
    """The command is given once more while the first goes on: the second is refused, the first is not disturbed."""
    count = scene.rng.randint(0, 4)
    with scene.command() as first:
        first.until(lambda: (scene.out / "sweep.yaml").exists() or None, "the directory was taken")
        first.until(lambda: len(scene.runs.done) >= count or None, f"{count} runs were done")
        with scene.command() as second:
            scene.end(second, [2], limit_s=_REFUSED_S)
        if first.code is not None:
            raise Missed("the first had ended before the second did")
        lines = second.said.strip().splitlines()
        scene.expect(len(lines) == 1, f"the second was refused in {len(lines)} lines, not in a sentence")
        scene.moment = f"{len(scene.runs.done)} done; it said: {(lines or [''])[-1][:120]}"
        scene.end(first, [0])


def _used(directory: Path) -> int:
    """Bytes of the blocks that files take, as a file system in memory has them."""
    page = os.sysconf("SC_PAGE_SIZE")
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(-(-path.stat().st_size // page) * page for path in files)
