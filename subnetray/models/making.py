"""Embedded models made in a process of their own: pretraining is arithmetic on one core, and nobody has to wait for it.

``python -m subnetray.models.making CACHE`` reads configs from its standard input and says on its standard output how
far it is and, in its last line, what it took; bad input is exit code 2 and one sentence on its standard error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from subnetray.config import ConfigError, EmbeddedModel
from subnetray.models import embedded
from subnetray.process.environment import computing
from subnetray.process.libraries import load
from subnetray.text import clean

_PATIENCE_S, _TIMES = 15.0, 3
_TOOK = "seconds of processor time: "


class Making:
    """Makes models while it is entered, one after the other; each directory is there at once and whole.

    ``cpu_s``: once all are made, the processor time that it took to train and write them, imports excluded.
    """

    def __init__(self, configs: Sequence[EmbeddedModel], cache_dir: Path, log: Callable[[str], None]) -> None:
        self._configs, self._cache_dir, self._log = configs, cache_dir, log
        self._process: subprocess.Popen[str] | None = None
        self.cpu_s = 0.0
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - which nobody reads before the end, however long

    def __enter__(self) -> Making:
        if self._configs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._cache_dir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=os.environ | computing(),
                # Ctrl-C is the driver's affair: who leaves this ends it.
                start_new_session=True,
            )
            assert self._process.stdin is not None
            with self._process.stdin as pipe:
                json.dump([dataclasses.asdict(config) for config in self._configs], pipe)
        return self

    def wait(self) -> None:
        """Say how far it is, and return when all are made. Raises ConfigError, or RuntimeError with the reason."""
        if self._process is None:
            return
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_TOOK):
                self.cpu_s = float(line.removeprefix(_TOOK))
            else:
                self._log(line.rstrip())
        code = self._process.wait()
        if code:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            reason = said[-1] if said else f"its process ended with {code}"
            raise ConfigError(reason) if code == 2 else RuntimeError(f"an init could not be made: {clean(reason)}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._errors:
            if self._process is None or self._process.poll() is not None:
                return
            # So that it leaves nothing half made. Asked again, as a signal is lost that comes while Python runs a
            # callback, as of importlib's locks.
            for _ in range(_TIMES):
                self._process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_PATIENCE_S / _TIMES)
                    return
            self._process.kill()


def main(cache_dir: Path) -> int:
    """Make what standard input names; returns the exit code."""
    try:
        load("transformers.models.qwen2.modeling_qwen2")
        start = time.process_time()
        configs = [EmbeddedModel(**values) for values in json.load(sys.stdin)]
        for config in configs:  # engines wait for these
            embedded.prepare_blank(config, cache_dir)
        for config in configs:
            embedded.prepare(config, cache_dir, lambda text, name=config.name: print(f"{name}: {text}", flush=True))  # type: ignore[misc]
        print(f"{_TOOK}{time.process_time() - start:.4f}", flush=True)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
