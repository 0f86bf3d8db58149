"""Headers of safetensors files: what safetensors writes is read as it reads it, and all else is one sentence."""

from __future__ import annotations

import json
import os
import struct
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from subnetray.headers import HeaderError, inflate, read_header, shapes_of
from tests.fuzzing import fuzz

A = {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}


def write(path: Path, header: Any, body: bytes = bytes(32)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


BAD: dict[str, tuple[Any, str]] = {
    "overlap": ({"a": A, "b": {**A, "shape": [4], "data_offsets": [8, 24]}}, "a and b share bytes"),
    "hole before": ({"a": {**A, "shape": [4], "data_offsets": [16, 32]}}, "16 bytes before a belong to no tensor"),
    "hole after": ({"a": {**A, "shape": [4], "data_offsets": [0, 16]}}, "bytes, and its header asks for"),
    "beyond": ({"a": {**A, "shape": [9], "data_offsets": [0, 36]}}, "and its header asks for .*: it is truncated"),
    "negative shape": ({"a": {**A, "shape": [-2, -4]}}, "no whole numbers >= 0"),
    "fraction": ({"a": {**A, "shape": [8.0]}}, "no whole numbers >= 0"),
    "true": ({"a": {**A, "shape": [8, True]}}, "no whole numbers >= 0"),
    "backwards": ({"a": {**A, "data_offsets": [32, 0]}}, "do not fit its shape"),
    "huge": ({"a": {**A, "shape": [1 << 61, 1 << 61]}}, "do not fit its shape"),
    "many dimensions": ({"a": {**A, "shape": [8, *[1] * 40]}}, "do not fit its shape"),
    "another format": ({"a": {**A, "dtype": "F64"}}, "do not fit its shape"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 32]}}, "is none of a tensor"),
    "a list": ([A], "no readable safetensors header"),
    "a number for a tensor": ({"a": 5}, "is none of a tensor"),
    "twice": (b'{"a":%b,"a":%b}' % (2 * (json.dumps(A).encode(),)), "names a twice"),
    "NaN": (b'{"a":NaN}', "no readable safetensors header"),
    "deep": (b'{"a":' + b"[" * 100_000, "no readable safetensors header"),
    "half a character": (b'{"\\ud800":%b}' % json.dumps(A).encode(), "is no text"),
    "latin-1": ('{"ä":1}'.encode("latin-1"), "no readable safetensors header"),
    "metadata of numbers": ({"__metadata__": {"a": 1}, "a": A}, "__metadata__ must be texts"),
    "a long number": (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}", "no readable safetensors header"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_header_is_named_in_one_sentence(tmp_path: Path, kind: str) -> None:
    header, text = BAD[kind]
    with pytest.raises(HeaderError, match=text) as found:
        read_header(write(tmp_path / "x.safetensors", header))
    assert len(str(found.value)) < 300
    assert str(found.value).isprintable()


def test_a_pipe_a_pointer_and_a_length_that_is_believed_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    (tmp_path / "huge").write_bytes(struct.pack("<Q", 137 << 30) + b"{}")
    for name, text in (("pipe", "a pipe"), ("pointer", "git lfs pull"), ("huge", "no safetensors file")):
        with pytest.raises(HeaderError, match=text):
            read_header(tmp_path / name)


@given(
    tensors=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from([torch.float32, torch.bfloat16, torch.int8, torch.float8_e4m3fn]),
            st.lists(st.integers(0, 4), max_size=3),
        ),
        max_size=4,
    )
)
@fuzz(300)
def test_what_safetensors_writes_is_read_as_it_is(tmp_path: Path, tensors: Any) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: torch.zeros(shape).to(dtype) for name, (dtype, shape) in tensors.items()}, path)
    found = read_header(path).entries
    assert {name: list(entry.shape) for name, entry in found.items()} == {n: shape for n, (_, shape) in tensors.items()}


@given(data=st.data())
@fuzz(300)
def test_a_damaged_file_is_refused_or_read_as_safetensors_reads_it(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(3, 2), "b": torch.ones(4).bfloat16()}, path, metadata={"k": "v"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path.write_bytes(content)
    try:
        found = read_header(path)
    except HeaderError:
        return
    try:
        with safe_open(str(path), framework="pt") as file:
            assert set(file.keys()) == set(found.entries)
    except SafetensorError:
        # It knows no formats but its own; nothing else may be read here that it refuses.
        text = path.read_bytes().decode("latin-1")
        assert '"dtype":"F32"' not in text or '"dtype":"BF16"' not in text


def test_a_frame_is_taken_apart_no_further_than_it_should_be_long() -> None:
    import pyarrow as pa

    frame = pa.compress(bytes(300 << 20), codec="zstd", asbytes=True)
    assert len(frame) < 100_000
    got = 0
    parts = inflate(frame, 5 << 20)
    for _ in range(5):
        got += len(next(parts))
    assert got == 5 << 20
    with pytest.raises(ValueError, match="too long"):
        next(parts)
    for nbytes, text in ((301 << 20, "too short"), (-1, "no size"), ("5", "no size"), (137 << 30, "too short")):
        with pytest.raises(ValueError, match=text):
            deque(inflate(frame, nbytes), maxlen=0)
    assert b"".join(inflate(pa.compress(b"abc", codec="zstd", asbytes=True), 3)) == b"abc"
    with pytest.raises(ValueError, match="ZSTD"):
        list(inflate(b"no frame", 3))


@pytest.mark.parametrize(
    "shapes", [None, [], {"a": [-2, -4]}, {"a": [8.0]}, {"a": "8"}, {"a": [True]}, {"a": [1] * 99}]
)
def test_shapes_are_of_whole_numbers(shapes: Any) -> None:
    with pytest.raises(ValueError, match="no shape"):
        shapes_of(shapes)
