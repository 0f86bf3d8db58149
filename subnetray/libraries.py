"""Large libraries, imported at once."""

from __future__ import annotations

import gc
import sys
from importlib import import_module


def load(*names: str) -> None:
    """Import modules that this process will hold for as long as it lives; nothing is done for those that it has.

    Meanwhile no garbage is looked for, and what is there afterwards is never looked at again: imports make hundreds of
    thousands of objects and hardly any garbage, and looking for it over and over takes a quarter of their time.
    """
    missing = [name for name in names if name not in sys.modules]
    if not missing:
        return
    looking = gc.isenabled()  # not where a module that is loaded loads others
    gc.disable()
    try:
        for name in missing:
            import_module(name)
    finally:
        gc.freeze()
        if looking:
            gc.enable()
