"""``python -m subnetray.explain [KEY ...]``: say what keys there are, what each takes, its default and its meaning.

KEY: a key as ``algorithm.lr``, or a section as ``algorithm``; none: all of them by name. docs/keys.md has them all.

Exit codes: 0 done; 2 there is no such key.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence

from subnetray import cli
from subnetray.config import ConfigError
from subnetray.config.reference import Section, sections
from subnetray.text import shown


def main(arguments: Sequence[str] | None = None, prog: str = "python -m subnetray.explain") -> int:
    """Entry point, called as ``prog``; returns the exit code."""
    return cli.run(prog, __doc__, arguments, _run)


def _run(options: argparse.Namespace) -> int:
    words = [word.lstrip("+~").partition("=")[0] for word in options.overrides]
    lines = [line for word in words for line in _about(word)] if words else list(_all())
    print("\n".join(lines))
    return 0


def _all() -> Iterator[str]:
    for section in sections():
        names = list(dict.fromkeys(key.name for key in section.keys))
        yield from _head(section)
        yield from (f"  {name}" for name in names)


def _head(section: Section) -> Iterator[str]:
    yield f"{section.name or 'the command'}{f': {section.about}' if section.about else ''}"
    if section.choices:
        sign = "+" if section.name == "grid" else ""
        yield f"  {sign}{section.name}=  one of {', '.join(section.choices)}"


def _about(word: str) -> Iterator[str]:
    """Lines on a section or a key; raises ConfigError where there is none of that name."""
    for section in sections():
        if section.name and section.name == word:
            yield from _head(section)
            yield from (line for key in section.keys for line in str(key).splitlines())
            return
    found = [key for section in sections() for key in section.keys if key.name == word]
    if not found:
        names = [*(each.name for each in sections()), *(key.name for each in sections() for key in each.keys)]
        # A last name by itself, as in ``lr``, means any key that ends in it.
        near = [name for name in names if name.rpartition(".")[2] == word] or difflib.get_close_matches(word, names, 3)
        hint = f": there is {', '.join(dict.fromkeys(near))}" if near else ""
        raise ConfigError(f"there is no key {shown(word)}{hint}")
    for key in found:
        yield from str(key).splitlines()


if __name__ == "__main__":
    sys.exit(main())
