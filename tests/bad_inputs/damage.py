"""Files that were good, damaged as disks, editors, downloads and strangers damage them."""

from __future__ import annotations

import re

from hypothesis import strategies as st

# What a number or a text in JSON or YAML is replaced by.
_VALUES = (
    *(
        "0",
        "-1",
        "1e999",
        "NaN",
        "null",
        "true",
        "1.5",
        "9" * 40,
        "4294967296",
        "[]",
        "{}",
        "[0]",
        '""',
        '"x"',
        '"BF16"',
    ),
    *(
        '"../x"',
        '"/etc/passwd"',
        '"\\u0000"',
        '"\\ud800"',
        '"[/x]"',
        '"\\u001b[2J"',
        '"' + "x" * 300 + '"',
        "[[[[",
        "}",
    ),
)
_BYTES = (b"", b"\x00", b"\xff", b"\xff" * 8, b"\x00" * 8, b"\n", b'"', b"{", b"]", b",", b"\x80", b"PK\x03\x04")
_TOKEN = re.compile(rb'"[^"\\\n]*"|-?\d[\d.e+-]*|\b(?:true|false|null)\b|(?<=: )[A-Za-z_][\w.]*')
_NEAR = 900  # where headers are


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` with something cut off, overwritten, left out, put in, repeated, or a value that is another one."""
    tokens = list(_TOKEN.finditer(content[: 1 << 16])) if _is_text(content) else []
    how = draw(st.sampled_from(["value", "value", "value", "bytes", "cut", "repeat"] if tokens else ["bytes", "cut"]))
    if how == "value":
        token = draw(st.sampled_from(tokens))
        return content[: token.start()] + draw(st.sampled_from(_VALUES)).encode() + content[token.end() :]
    if how == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if how == "repeat":
        begin = draw(st.integers(0, len(content)))
        end = draw(st.integers(begin, min(len(content), begin + 200)))
        return content[:end] + content[begin:end] * draw(st.integers(1, 40)) + content[end:]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(content), draw(st.sampled_from([8, 64, _NEAR, 1 << 20])))))
        gone = draw(st.integers(0, 8))
        content = content[:at] + draw(st.one_of(st.sampled_from(_BYTES), st.binary(max_size=4))) + content[at + gone :]
    return content


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in content
