"""Whether there is an account to log to is found before any work, without asking a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from subnetray.config import ConfigError, Tracking
from subnetray.driver import tracking
from subnetray.driver.tracking.account import base_url

ONLINE = Tracking(mode="online")
KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("API_KEY", "BASE_URL", "CONFIG_DIR", "IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_online_tracking_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="tracking=online needs an account: run `wandb login` or set WANDB_API_KEY"):
        tracking.check(ONLINE)
    for mode in ("offline", "disabled"):
        tracking.check(Tracking(mode=mode))
    # Nobody listens there: that is no error now, and what is logged is kept offline.
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tracking.check(ONLINE)


@pytest.mark.parametrize("name", [".netrc", "_netrc", "elsewhere"])
def test_the_account_of_wandb_login_is_found(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / name).write_text(f"machine wandb.here:8080\n  login user\n  password {KEY}\n")
    if name == "elsewhere":
        monkeypatch.setenv("NETRC", str(home / name))
    with pytest.raises(ConfigError, match="needs an account"):
        tracking.check(ONLINE)
    # `wandb login --host` notes where.
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_text("[default]\nbase_url = http://wandb.here:8080\n")
    assert base_url() == "http://wandb.here:8080"
    tracking.check(ONLINE)


@pytest.mark.parametrize("key", ["short", "x" * 39, f"{KEY} ", "local-short", "a.b", f"{KEY}\n{KEY}", "ключ" * 10])
def test_an_impossible_key_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(
        ConfigError, match="key of 40 or more letters and digits, and that in WANDB_API_KEY is none"
    ) as e:
        tracking.check(ONLINE)
    assert key not in str(e.value)


@pytest.mark.parametrize("key", [KEY, KEY * 2, f"local-{KEY}", "wandb_v1_" + KEY, "head.pay-load.sign_ature"])
def test_keys_of_every_kind_are_taken(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    tracking.check(ONLINE)


@pytest.mark.parametrize("url", ["wandb.here", "ftp://user:secret@wandb.here/x", "http://"])
def test_an_address_that_none_can_be_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", url)
    with pytest.raises(ConfigError, match=r"WANDB_BASE_URL, such as https://api\.wandb\.ai: got") as e:
        tracking.check(ONLINE)
    assert "secret" not in str(e.value)


def test_damaged_files_of_accounts_are_no_account(home: Path) -> None:
    (home / ".netrc").write_bytes(b"machine \xff\xfe login")
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_text("no section")
    with pytest.raises(ConfigError, match="needs an account"):
        tracking.check(ONLINE)
