"""The commands' shared part: reading words, errors in one line, exit codes.

Exit codes: 0 done; 1 something failed, the rest is done and reported, or could not be started or written; 2 bad input,
found before work began; 130 interrupted. Errors are one line on standard error of at most 500 characters, in which
nothing can move the cursor or break the line, whatever the names in it hold.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.types import OverrideType

from subnetray import plugins
from subnetray.config import ConfigError
from subnetray.config.compose import Composer
from subnetray.config.hints import Hints, below, may_be_none, schema_of
from subnetray.config.shown import PARTS, choices
from subnetray.config.words import parse
from subnetray.driver.background import StartError
from subnetray.driver.session import signals
from subnetray.places import explain
from subnetray.text import one_line

_LONGEST = 480  # of an error, behind the name of the program


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


class _Help(argparse.Action):
    """Print the help, with what can be chosen where a command composes configs: of ``--config-dir`` before it, too."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        if hasattr(namespace, "config_dir"):
            given = namespace.config_dir
            parser.epilog = choices(Composer(None if given is None else _directory(given)))
        parser.print_help()
        parser.exit()


def run(
    prog: str,
    about: str,
    arguments: Sequence[str] | None,
    work: Callable[[argparse.Namespace], int],
    config_dir: bool = False,
) -> int:
    """Run a command on its arguments (those of the process, if None) and return its exit code.

    ``prog``: what it is called as, ``subnetray sweep`` or ``python -m subnetray.sweep``. ``about``: what ``--help``
    prints, where the latter is replaced by it. ``work`` is given ``overrides``, a list of words. ``config_dir``:
    whether the command composes configs, and takes ``--config-dir``, a path or None, and ``--cfg``, a part or None.
    """
    try:
        options = _options(prog, about, arguments, config_dir)
        for problem in plugins.problems():
            raise ConfigError(f"{problem}: mend it, or uninstall it")
        return 0 if options is None else work(options)
    except ConfigError as error:
        return _say(error, 2)
    except StartError as error:
        return _say(error, 1)
    except BrokenPipeError:
        # Who read the output has gone; what Python writes while it ends must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # A full disk or an unreadable file: results are written atomically, nothing partial is left behind.
        print(f"subnetray: {explain(error)}", file=sys.stderr)
        return 1
    except SystemExit as error:
        # Code that a command calls, of somebody's reward or task, tried to end it.
        return _say(RuntimeError(f"something that this command imports ended it (exit code {error.code})"), 1)
    except KeyboardInterrupt:
        return signals.exit_code()


def values(overrides: Sequence[str], kind: type) -> dict[str, Any]:
    """The fields of the dataclass ``kind`` that ``overrides`` set, lists as tuples.

    Raises ConfigError for other keys, and for values that are not of a field's type.
    """
    schema = schema_of(kind)
    found: dict[str, Any] = {}
    for override in parse(overrides, schema):
        key, value = override.key_or_group, override.value()
        if override.type != OverrideType.CHANGE or override.package is not None or key not in schema:
            names = ", ".join(schema)
            raise ConfigError(f"{override.input_line} is not an option of this command: write key=value with {names}")
        found[key] = _listed(key, value, schema[key])
    return found


def _listed(key: str, value: Any, hints: Hints) -> Any:
    """A list as the tuple that a field holds, all else as it is."""
    inner = [each for hint in hints for each in below(hint, "0")]
    if not inner or (value is None and may_be_none(hints)):
        return value
    if not isinstance(value, list):
        what = {str: "text", int: "whole numbers", float: "numbers"}[inner[0]]
        raise ConfigError(f"{key} must be a list of {what}, as in {key}=[…], not {value!r}")
    return tuple(map(inner[0], value))


def _options(prog: str, about: str, arguments: Sequence[str] | None, config_dir: bool) -> argparse.Namespace | None:
    """None where ``--help`` was asked for and printed."""
    parser = _Parser(
        prog=prog,
        description=re.sub(r"python -m subnetray\.\w+", prog, about),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="print this, and do nothing")
    if config_dir:
        parser.add_argument("--config-dir", metavar="DIR", help="a directory of yours in the layout of conf/")
        said = "; ".join(f"{part}: {what}" for part, what in PARTS.items())
        parser.add_argument("--cfg", choices=[*PARTS], help=f"print what the words compose to, and do nothing ({said})")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides in Hydra's syntax")
    try:
        options = parser.parse_intermixed_args(arguments)
    except SystemExit:
        return None
    if config_dir and options.config_dir is not None:
        options.config_dir = _directory(options.config_dir)
    return options


def _directory(text: str) -> Path:
    if not text:
        raise ConfigError("--config-dir must be a directory of the layout of conf/, and '' is none")
    return Path(text).expanduser() if text.startswith("~/") else Path(text)


def _say(error: Exception, code: int) -> int:
    print(f"subnetray: {one_line(str(error), _LONGEST)}", file=sys.stderr)
    return code
