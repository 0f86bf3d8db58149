"""docs/your-own.md: what it shows is run, in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from subnetray.models.tokenizer import make_tokenizer
from tests.decoder import decoder

PAGE = Path(__file__).parents[1] / "docs" / "your-own.md"


def test_every_block_of_the_page_runs(tmp_path: Path) -> None:
    decoder().save_pretrained(tmp_path / "my-model")
    tokenizer = make_tokenizer(256)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "my-model")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    said = []
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert len(said) == 5
    assert all("runs, 0 done" in each for each in said)
    assert "12 runs, 0 done, 12 to do" in said[3]
    assert "the factor data is left out: it has task=arithmetic, and task=jsonl is chosen" in said[4]
    assert not (tmp_path / "outputs").exists()
