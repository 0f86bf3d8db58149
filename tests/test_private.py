"""A private name that is gone is said with its library and version, and is no error where there is another way."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

import pytest

from subnetray.private import Gone, reach, replace, unless_gone


def test_what_is_there_is_found() -> None:
    assert reach("json", "JSONDecoder.decode") is json.JSONDecoder.decode


def test_what_is_gone_names_library_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Gone, match=rf"^omegaconf {version('omegaconf')} has no omegaconf\.nope\.x$"):
        reach("omegaconf", "nope.x")
    with pytest.raises(Gone, match=rf"^hydra {version('hydra-core')} has no hydra\.nope\.x$"):
        reach("hydra.nope", "x")
    monkeypatch.setitem(sys.modules, "hydra.core", None)
    with pytest.raises(Gone, match=r"hydra\.core\.utils"):
        reach("hydra.core", "utils")
    with pytest.raises(Gone, match=r"^nope has no nope\.x$"):
        reach("nope", "x")


def test_only_what_is_there_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.JSONDecoder, "decode", json.JSONDecoder.decode)
    replace("json", "JSONDecoder.decode", 3)
    found: Any = json.JSONDecoder.decode
    assert found == 3
    with pytest.raises(Gone):
        replace("json", "JSONDecoder.nope", 3)
    assert not hasattr(json.JSONDecoder, "nope")


def test_another_way_is_gone_in_a_line_of_log(caplog: pytest.LogCaptureFixture) -> None:
    with unless_gone("all takes longer"):
        reach("json", "nope")
    assert caplog.messages == ["json has no json.nope: all takes longer"]
    with pytest.raises(AttributeError), unless_gone("it does not"):
        raise AttributeError
