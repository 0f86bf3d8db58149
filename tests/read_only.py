"""A file system that cannot be written to, for root too, whom permissions do not hold."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """``directory`` as a mount that is read-only or, without the right to mount, as a directory without permissions."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid():
        directory.chmod(0o555)
        yield
        directory.chmod(0o755)
        return
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(directory)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)
