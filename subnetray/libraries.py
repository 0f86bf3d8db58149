"""Large libraries, imported without looking for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


def load(*names: str) -> None:
    """Import modules that this process will hold for as long as it lives; nothing is done for those that it has."""
    missing = [name for name in names if name not in sys.modules]
    if missing:
        with loading():
            for name in missing:
                import_module(name)


@contextmanager
def loading() -> Iterator[None]:
    """While entered no garbage is looked for, and what is there afterwards is never looked at again.

    Imports make hundreds of thousands of objects and hardly any garbage, and looking for it over and over takes a
    quarter of their time.
    """
    looking = gc.isenabled()  # not where a module that is loaded loads others
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if looking:
            gc.enable()
