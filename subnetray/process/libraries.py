"""Large libraries, imported without looking for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module


def load(*names: str, without: Sequence[str] = ()) -> None:
    """Import modules that this process will hold for as long as it lives; nothing is done for those that it has.

    ``without``: as for :func:`loading`.
    """
    missing = [name for name in names if name not in sys.modules]
    if missing:
        with loading(without):
            for name in missing:
                import_module(name)


@contextmanager
def loading(without: Sequence[str] = ()) -> Iterator[None]:
    """While entered no garbage is looked for, and what is there afterwards is never looked at again.

    Imports make hundreds of thousands of objects and hardly any garbage, and looking for it over and over takes a
    quarter of their time. ``without``: modules that are not found meanwhile, unless they are there already, by
    libraries that would import them for what is not asked of them.
    """
    absent = [name for name in without if name not in sys.modules]
    looking = gc.isenabled()  # not where a module that is loaded loads others
    gc.disable()
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        gc.freeze()
        if looking:
            gc.enable()
