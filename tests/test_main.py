"""``subnetray COMMAND …``: the list of commands, and that each is the module's own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

import subnetray
from subnetray.__main__ import COMMANDS, about, main
from tests.bad_inputs.refusal import check_line

PYPROJECT = Path(subnetray.__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """Write the script that an installation makes of ``[project.scripts]``, in a directory of its own."""
    module, _, function = tomllib.loads(PYPROJECT.read_text())["project"]["scripts"]["subnetray"].partition(":")
    place = tmp_path / "bin" / "subnetray"
    place.parent.mkdir()
    place.write_text(
        f"import sys\nfrom {module} import {function}\nif __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    return [sys.executable, str(place)]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PYPROJECT.parent)}


def _run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, env=_environment(), capture_output=True, text=True)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command_with_what_its_docstring_says(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    shown = capsys.readouterr().out
    for command, module in COMMANDS.items():
        first, *_ = (import_module(module).__doc__ or "").splitlines()
        said = about(command)
        assert len(said.split()) > 4
        assert first.endswith(f"``: {said}.")
        assert f"  {command:{max(map(len, COMMANDS))}}  {said}\n" in shown
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_the_command_s(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    def said(entry: Callable[[list[str]], int], *words: str) -> str:
        with suppress(SystemExit):  # by which argparse ends
            assert entry([*words, "--help"]) == 0
        return " ".join(capsys.readouterr().out.split())

    by_module = said(import_module(COMMANDS[command]).main)
    assert by_module.startswith(f"usage: python -m subnetray.{command} [-h]")
    assert said(main, command) == by_module.replace(f"python -m subnetray.{command}", f"subnetray {command}")


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"subnetray {subnetray.__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], f"no command is named: write subnetray COMMAND with one of {', '.join(COMMANDS)}"),
        (["swep"], "'swep' is no command: write"),
        (["+grid=origins"], "'+grid=origins' is no command"),
        (["--sweep"], "'--sweep' is no command"),
        (["Sweep", "--help"], "'Sweep' is no command"),
        ([""], "'' is no command"),
        (["x\n\x1b[2J" * 1000], "is no command"),
        (["sweep", "--helpp"], "(see subnetray sweep --help)"),
        (["sweep", "dry_run=true"], "+grid="),
        (["diff", "init=a"], "final= must name"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(words)
    captured = capsys.readouterr()
    assert says in check_line(code, captured.out, captured.err)


def test_the_list_of_commands_imports_nothing_but_python_s_own() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from subnetray.__main__ import main\n"
        "assert main(['--help']) == main(['--version']) == 0\n"
        "new = {name for name in sys.modules if name.partition('.')[0] not in sys.stdlib_module_names} - before\n"
        "print(sorted(new))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=True)
    ours = ["subnetray", "subnetray.__main__", "subnetray.doctor", "subnetray.text"]
    assert found.stdout.splitlines()[-1] == str(ours)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["nope"], 2), (["train", "algorithm=none"], 2)])
def test_the_installed_script_is_the_module(words: list[str], code: int, script: list[str], tmp_path: Path) -> None:
    done, same = (_run([*start, *words], tmp_path) for start in (script, [sys.executable, "-m", "subnetray"]))
    assert (done.returncode, done.stdout, done.stderr) == (same.returncode, same.stdout, same.stderr)
    assert done.returncode == code


def test_the_installed_script_finds_a_user_s_own_modules_here(script: list[str], tmp_path: Path) -> None:
    """Python looks beside a script for what it imports; ``python -m`` looks in the working directory, as this must."""
    (tmp_path / "data.jsonl").write_text("".join(f'{{"prompt": "{n}+1=", "answer": "x"}}\n' for n in range(64)))
    (tmp_path / "here.py").write_text("def score(prompt, completion, reference): return 1.0\n")
    (tmp_path / "bin" / "beside.py").write_text((tmp_path / "here.py").read_text())
    words = ["task=jsonl", "task.path=data.jsonl", "task.gold=answer", "model=smollm2_135m", "dry_run=true"]
    done = _run([*script, "train", "algorithm=grpo", "task.reward=here.score", *words], tmp_path)
    assert done.returncode == 0, done.stderr
    done = _run([*script, "train", "algorithm=grpo", "task.reward=beside.score", *words], tmp_path)
    assert "there is no module beside to import it from" in done.stderr


@pytest.mark.parametrize("code", [0, 1, 2, 130, 143])
def test_words_go_to_the_command_and_its_exit_code_comes_back(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[list[str], str]] = []

    def sweep(words: list[str], prog: str) -> int:
        given.append((words, prog))
        return code

    monkeypatch.setattr("subnetray.sweep.main", sweep)
    assert main(["sweep", "--version", "+grid=a b", "sweep"]) == code
    assert given == [(["--version", "+grid=a b", "sweep"], "subnetray sweep")]
