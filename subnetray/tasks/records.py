"""Read records from a file, a directory in the hub's layout, or a data set of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subnetray.config import ConfigError, DatasetTask
from subnetray.tasks import csv_rows, json_rows
from subnetray.text import shown

SUFFIXES = (".jsonl", ".json", *csv_rows.SUFFIXES, ".parquet")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Of a directory that is a data set: more is a place where data sets lie, and hashing it would take minutes or for ever.
_FILES, _BYTES = 1_000, 32 << 30


@dataclass(frozen=True, slots=True)
class Row:
    """A record and where it stands, as errors name it: ``line 3`` of a file, or ``row 3`` of a table, from 1."""

    place: str
    values: Mapping[str, Any]


def check(config: DatasetTask) -> None:
    """Raise ConfigError for a path that holds no records, by what can be seen without reading them."""
    path = Path(config.path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise ConfigError(f"task.path: {shown(path)} cannot be used: {_why(error)}") from None
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise ConfigError(f"task.path: {shown(path)} is {name}, and must be a file or a directory")
    if stat.S_ISDIR(mode):
        files(path)
        return
    if path.suffix.lower() not in SUFFIXES:
        unpack = " (unpack it first)" if path.suffix.lower() in _PACKED else ""
        raise ConfigError(f"task.path: {shown(path)} must end in one of {', '.join(SUFFIXES)}{unpack}")
    if config.held_out_split is not None or config.split != "train":
        raise ConfigError(f"task.split and task.held_out_split: one file, {shown(path.name)}, has no splits but train")


def files(directory: Path) -> list[Path]:
    """All files of a directory that is a data set, sorted; ConfigError where it is none, or too large for one."""
    found: list[Path] = []
    size = 0

    def refuse(error: OSError) -> None:
        raise error

    try:
        for place, _, names in os.walk(directory, onerror=refuse):
            for name in names:
                file = Path(place, name)
                if file.is_file():
                    found.append(file)
                    size += file.stat().st_size
            if len(found) > _FILES or size > _BYTES:
                what = f"{_FILES:,} files" if len(found) > _FILES else f"{_BYTES >> 30} GiB"
                raise ConfigError(
                    f"task.path: {shown(directory)} holds more than {what}: name the directory of one data set, or its"
                    " file"
                )
    except OSError as error:
        raise ConfigError(f"task.path: {shown(directory)} cannot be read: {_why(error)}") from None
    if not found:
        raise ConfigError(f"task.path: {shown(directory)} holds no files: name a directory with a data set, or a file")
    return sorted(found)


def read(config: DatasetTask, split: str) -> tuple[list[str], Iterable[Row]]:
    """The names of the columns and the rows; ConfigError for what cannot be read."""
    path = Path(config.path)
    if path.is_dir():
        of_json = _text_files(config, split)
        return _of_library(config, split) if of_json is None else _of_text(of_json)
    if not path.exists():
        return _of_library(config, split)
    return _of_parquet(path) if path.suffix.lower() == ".parquet" else _of_text([path])


def _of_text(paths: list[Path]) -> tuple[list[str], list[Row]]:
    rows = []
    for path in paths:
        where = f" of {shown(path.name, 60)}" if len(paths) > 1 else ""
        try:
            reader = csv_rows if path.suffix.lower() in csv_rows.SUFFIXES else json_rows
            rows += [Row(f"line {line}{where}", record) for line, record in reader.read(path)]
        except OSError as error:
            raise ConfigError(f"task.path: {shown(path)} cannot be read: {_why(error)}") from None
    if not rows:
        raise ConfigError(f"task.path: {shown(paths[0])} holds no records: write one JSON object a line")
    return list(dict.fromkeys(name for row in rows for name in row.values)), rows


def _of_parquet(path: Path) -> tuple[list[str], Iterator[Row]]:
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ConfigError(f"task.path: {shown(path)} cannot be read as Parquet: {_why(error)}") from None
    if table.num_rows == 0:
        raise ConfigError(f"task.path: {shown(path)} holds no records")
    return table.column_names, _rows(record for batch in table.to_batches(1000) for record in _batch(batch))


def _batch(batch: Any) -> Iterator[Mapping[str, Any]]:
    """The records of a batch; one by one where not all can be had, so that the first at fault is known."""
    try:
        yield from batch.to_pylist()
    except ValueError:
        for row in range(batch.num_rows):
            yield from batch.slice(row, 1).to_pylist()


def _of_library(config: DatasetTask, split: str) -> tuple[list[str], Iterator[Row]]:
    import datasets

    with _quiet():
        try:
            records = datasets.load_dataset(_source(config), config.subset, revision=config.revision, split=split)
        except Exception as error:  # whatever a library thinks of others' files
            cause = error.__cause__ if error.__cause__ is not None and str(error.__cause__) else error
            raise ConfigError(
                f"task.path: {shown(config.path)} (split {shown(split, 40)}) could not be read: {_why(cause)}"
            ) from error
    return records.column_names, _rows(records)


def _text_files(config: DatasetTask, split: str) -> list[Path] | None:
    """The files of a split of a directory where all of them are JSON, or CSV; None where a library reads it."""
    import datasets

    with _quiet(), contextlib.suppress(Exception):  # which the library says when it reads
        builder = datasets.load_dataset_builder(_source(config), config.subset)
        kind = builder.config.__class__.__name__
        usual = kind == "JsonConfig" and builder.config.field is None
        usual = usual or (kind == "CsvConfig" and builder.config.sep in (",", None) and builder.config.names is None)
        suffixes = csv_rows.SUFFIXES if kind == "CsvConfig" else (".json", ".jsonl")
        if usual:
            paths = [Path(str(file)) for file in builder.config.data_files[split]]
            if all(path.is_file() and path.suffix.lower() in suffixes for path in paths):
                return paths
    return None


def _source(config: DatasetTask) -> str:
    path = Path(config.path)
    return str(path.resolve()) if path.is_dir() else config.path


def _rows(records: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    place = 0
    try:
        for place, record in enumerate(records, start=1):
            yield Row(f"row {place}", record)
    except ConfigError:
        raise
    except Exception as error:  # text that is none, in a table that a library reads when asked
        raise ConfigError(f"task.path: row {place + 1} cannot be read: {_why(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library ``datasets`` without its bars and without its word beside an error."""
    import datasets

    shows = datasets.utils.logging.is_progress_bar_enabled()
    level = datasets.utils.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.utils.logging.set_verbosity(level)
        if shows:
            datasets.enable_progress_bars()


def _why(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shown(" ".join(reason.split()).rstrip("."), 220) or type(error).__name__
