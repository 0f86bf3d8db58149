"""``subnetray COMMAND …``, or ``python -m subnetray COMMAND …``: run one of the commands.

What a command is given, and how it ends, is as by ``python -m subnetray.COMMAND``. Exit codes of its own: 2, with one
sentence on standard error, where no command is named or none of that name exists.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from subnetray import __version__
from subnetray.text import shown

# By name, the module whose docstring says what the command does, and whose main(arguments, prog) does it.
COMMANDS = {
    "sweep": "subnetray.sweep",
    "train": "subnetray.train",
    "diff": "subnetray.diff",
    "report": "subnetray.report",
    "dashboard": "subnetray.dashboard",
    "explain": "subnetray.explain",
    "doctor": "subnetray.doctor.__main__",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is the first of ``arguments`` (those of the process, if None); return its exit code."""
    if arguments is None:
        _look_here()
        arguments = sys.argv[1:]
    match arguments:
        case ["-h" | "--help", *_]:
            print("\n".join(_help()))
            return 0
        case ["--version", *_]:
            print(f"subnetray {__version__}")
            return 0
        case [command, *rest] if command in COMMANDS:
            code: int = import_module(COMMANDS[command]).main(rest, f"subnetray {command}")
            return code
        case [word, *_]:
            said = f"'{shown(word)}' is no command"
        case _:
            said = "no command is named"
    print(f"subnetray: {said}: write subnetray COMMAND with one of {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


def _look_here() -> None:
    """Find modules as ``python -m`` does, a user's rewards among them: here, not where the script lies."""
    if sys.path[:1] == [str(Path(sys.argv[0]).resolve().parent)]:
        sys.path[0] = str(Path.cwd())


def _help() -> Iterator[str]:
    """Yield the lines of ``--help``."""
    yield "usage: subnetray [--help] [--version] COMMAND [KEY=VALUE ...]"
    yield ""
    width = max(map(len, COMMANDS))
    for command in COMMANDS:
        yield f"  {command:{width}}  {about(command)}"
    yield ""
    yield "subnetray COMMAND --help says what a command takes, and what its exit codes mean."


def about(command: str) -> str:
    """Return what a command does: the first sentence of its docstring, read without importing what it needs."""
    spec = find_spec(COMMANDS[command])
    assert spec is not None
    assert spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or ""
    return text.partition("\n")[0].partition("``: ")[2].rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
