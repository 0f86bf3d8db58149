"""Records in JSON as they are written: numbers and dates stay the text that they are, and each knows its line.

Libraries that make tables of JSON turn dates into timestamps and large whole numbers into floats, so that an answer
would be compared with what its file does not say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from subnetray.config import ConfigError
from subnetray.text import shown

_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
# What a file is that is named as JSON and is not.
_OTHERS = (
    (b"\x1f\x8b", "is compressed (gzip): unpack it, as with gunzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed (zstd): unpack it, as with unzstd"),
    (b"BZh", "is compressed (bzip2): unpack it, as with bunzip2"),
    (b"\xfd7zXZ", "is compressed (xz): unpack it, as with unxz"),
    (b"PK\x03\x04", "is a zip archive: unpack it"),
    (b"PAR1", "is a Parquet file: let its name end in .parquet"),
    (b"version https://git-lfs", "is a pointer of Git LFS and not the file: fetch it with git lfs pull"),
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LINE, _ARRAY = 64 << 20, 1 << 30  # bytes that are read at once
_SPACE = " \t\n\r"


class Number(str):
    """A number, or true or false, as it is written in the file."""

    def value(self) -> int | float | bool:
        """Return its number; raises ValueError for a whole number of more digits than Python reads."""
        if self in ("true", "false"):
            return self == "true"
        return int(self) if re.fullmatch(r"-?\d+", self) else float(self)


def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a file of JSON, one object a line or an array of objects, each with the number of its line from 1.

    Numbers, true and false are :class:`Number`. What cannot be read raises ConfigError, which names file and line.
    """
    with path.open("rb") as file:
        start = file.read(4096)
        _refuse_other(path, start)
        file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
        if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
            yield from _array(path, _whole(path, file))
            return
        line = 0
        for whole in iter(lambda: file.readline(_LINE), b""):
            if len(whole) == _LINE:
                refuse(path, line + 1, f"more than {_LINE >> 20} MiB: write one object a line")
            ended = whole.endswith(b"\n")
            # A line feed alone is not all that ends lines: some files have carriage returns.
            for part in _LINE_END.split(whole[:-1].removesuffix(b"\r") if ended else whole.removesuffix(b"\r")):
                line += 1
                text = _decoded(path, part, line)
                if text.strip(_SPACE):
                    yield line, _record(path, text, line)


def text_of(path: Path) -> str:
    """All of a file of text, its line ends as line feeds; ConfigError names the line of what is no UTF-8."""
    with path.open("rb") as file:
        start = file.read(4096)
        _refuse_other(path, start)
        file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
        return _joined(path, _whole(path, file))


def refuse(path: Path, line: int, what: str) -> NoReturn:
    """Raise ConfigError for a line of a file."""
    raise ConfigError(f"task.path: line {line} of {shown(path)}: {what}")


def plain(value: Any) -> Any:
    """The value with Python's numbers, as functions of one's own expect them."""
    if isinstance(value, Number):
        return value.value()
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def _record(path: Path, text: str, line: int) -> dict[str, Any]:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        refuse(path, line, _reason(error, text))
    return _checked(path, value, text, line)


def _array(path: Path, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _joined(path, content)
    place, counted, line = text.index("[") + 1, 0, 1
    while True:
        place = _skip(text, place)
        line += text.count("\n", counted, place)
        counted = place
        if text[place : place + 1] == "]":
            break
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            at = text.count("\n", 0, error.pos) + 1 if isinstance(error, json.JSONDecodeError) else line
            refuse(path, at, _reason(error, text[place : place + 200]))
        yield line, _checked(path, value, text[place:end], line)
        place = _skip(text, end)
        if text[place : place + 1] == ",":
            place += 1
        elif text[place : place + 1] != "]":
            refuse(path, text.count("\n", 0, place) + 1, "the array of records has no comma or end here")
    rest = _skip(text, place + 1)
    if rest < len(text):
        refuse(path, text.count("\n", 0, rest) + 1, "something follows the array of records")


def _whole(path: Path, file: BinaryIO) -> bytes:
    content = file.read(_ARRAY)
    if len(content) == _ARRAY:
        raise ConfigError(f"task.path: {shown(path)} has more than {_ARRAY >> 30} GiB: write one JSON object a line")
    return content


def _joined(path: Path, content: bytes) -> str:
    return "\n".join(_decoded(path, part, line) for line, part in enumerate(_LINE_END.split(content), start=1))


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _checked(path: Path, value: Any, text: str, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(path, line, f"a record must be an object, {{...}}, not {shown(text, 40)}")
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            refuse(path, line, r"half a character (an escape \ud800 to \udfff without its other half)")
    return value


def _decoded(path: Path, part: bytes, line: int) -> str:
    try:
        text = part.decode()
    except UnicodeDecodeError as error:
        refuse(
            path,
            line,
            f"not UTF-8 (byte 0x{part[error.start]:02x} at {error.start + 1}): convert the file, as with"
            " iconv -f LATIN1 -t UTF-8 OLD > NEW if it is Latin-1",
        )
    if "\0" in text:
        refuse(path, line, "a NUL byte: the file is damaged, or no text")
    return text


def _refuse_other(path: Path, start: bytes) -> None:
    for magic, what in _OTHERS:
        if start.startswith(magic):
            raise ConfigError(f"task.path: {shown(path)} {what}")
    encoding = next((name for mark, name in _BOMS if start.startswith(mark)), None)
    if encoding is None and b"\0" in start[:4] and start[:4].strip(b"\0"):
        # Of ASCII in two or four bytes a character, as JSON begins.
        guess = json.detect_encoding(start[:4])
        encoding = guess[:6].upper() if guess.startswith(("utf-16", "utf-32")) else None
    if encoding is not None:
        raise ConfigError(
            f"task.path: {shown(path)} is {encoding}, and must be UTF-8: convert it, as with"
            f" iconv -f {encoding} -t UTF-8 OLD > NEW"
        )


def _reason(error: Exception, text: str) -> str:
    if isinstance(error, RecursionError):
        return "brackets in brackets beyond what can be read"
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if text.lstrip(_SPACE).startswith(("#", "//", "/*")):
        return "a comment, which JSON has not: remove it"
    if error.msg == "Extra data":
        return f"more than one value (from character {error.colno}): write one object a line"
    if text.strip(_SPACE) == "{":
        return "an object over several lines: write one object a line, or an array of objects"
    return f"no JSON ({error.msg} at character {error.colno})"


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON: write null, or text")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"an object has {shown(key, 40)} twice")
        found[key] = Number(json.dumps(value)) if isinstance(value, bool) else value
    return found


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_constant, object_pairs_hook=_object)
