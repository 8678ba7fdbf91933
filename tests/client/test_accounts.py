"""Which account is found, and how accounts are kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from qdwell import AccountNotFoundError, IBMInputValueError, InvalidAccountError
from qdwell.client import accounts

URL, TOKEN = "http://127.0.0.1:1", "secret"


def test_arguments_win_over_everything(tmp_path: Path) -> None:
    accounts.save(accounts.Account("http://saved", "saved"))
    env = {"QDWELL_URL": "http://env", "QDWELL_TOKEN": "env"}
    found = accounts.found(url=URL, token=TOKEN, instance="i", environment=env)
    assert found == accounts.Account(URL, TOKEN, "i")


def test_the_environment_wins_over_a_saved_account() -> None:
    accounts.save(accounts.Account("http://saved", "saved"))
    env = {"QISKIT_IBM_URL": f"{URL}/experimental/api/v1", "QISKIT_IBM_TOKEN": TOKEN}
    assert accounts.found(environment=env).url == URL
    env |= {"QDWELL_URL": "http://own", "QDWELL_TOKEN": "own"}
    assert accounts.found(environment=env).url == "http://own"
    assert accounts.found(environment={}).url == "http://saved"


def test_a_named_account_wins_over_the_environment() -> None:
    accounts.save(accounts.Account("http://named", "named"), "lab")
    env = {"QDWELL_URL": URL, "QDWELL_TOKEN": TOKEN}
    assert accounts.found(name="lab", environment=env).token == "named"
    with pytest.raises(AccountNotFoundError, match="saved: lab"):
        accounts.found(name="other", environment=env)


@pytest.mark.parametrize("name", ["QDWELL_CREDENTIALS", None])
def test_a_credentials_file_is_read(tmp_path: Path, name: str | None) -> None:
    path = tmp_path / "credentials.env"
    path.write_text(
        "# a warning\n"
        f"export QISKIT_IBM_TOKEN='{TOKEN}'\n"
        f"export QISKIT_IBM_URL={URL}/experimental/api/v1\n"
        "export QISKIT_IBM_INSTANCE=crn:v1:::::::\n"
    )
    if name:
        found = accounts.found(environment={name: str(path)})
    else:
        found = accounts.found(filename=str(path), environment={})
    assert (found.url, found.token, found.instance) == (URL, TOKEN, "crn:v1:::::::")


def test_a_nearby_file_counts_only_if_it_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "qdwell-data" / "credentials.env"
    path.parent.mkdir()
    path.write_text(f"export QDWELL_TOKEN={TOKEN}\nexport QDWELL_URL={URL}\n")
    path.chmod(0o644)
    with pytest.raises(AccountNotFoundError, match="qdwell env"):
        accounts.found(environment={})
    path.chmod(0o600)
    assert accounts.found(environment={}).token == TOKEN


def test_saved_accounts_are_private_and_whole() -> None:
    accounts.save(accounts.Account(URL, TOKEN))
    assert stat.S_IMODE(accounts.accounts_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(accounts.accounts_file().parent.stat().st_mode) == 0o700
    with pytest.raises(IBMInputValueError, match="overwrite"):
        accounts.save(accounts.Account(URL, "new"))
    accounts.save(accounts.Account(URL, "new"), overwrite=True)
    assert accounts.saved()["default"].token == "new"
    assert accounts.delete()
    assert not accounts.delete()
    assert accounts.saved() == {}


@pytest.mark.parametrize("before", [None, 0o644, 0o666, 0o400])
def test_saved_accounts_are_private_whatever_was_there(tmp_path: Path, before: int | None) -> None:
    path = tmp_path / "accounts.json"
    if before is not None:
        path.write_text("{}")
        path.chmod(before)
    mask = os.umask(0)  # all that is made may be read and written by all
    try:
        accounts.save(accounts.Account(URL, TOKEN), filename=str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)
        accounts.delete(filename=str(path))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [it.name for it in tmp_path.iterdir()] == ["accounts.json"]


def test_a_token_is_not_shown() -> None:
    assert TOKEN not in repr(accounts.Account(URL, TOKEN))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "", "token": TOKEN}, "url is missing"),
        ({"url": URL, "token": ""}, "token is missing"),
        ({"url": URL, "token": TOKEN, "channel": "pigeon"}, "channel must be one of"),
    ],
)
def test_settings_that_make_no_account_are_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidAccountError, match=said):
        accounts.made(**{"instance": None, "channel": None, **settings})


def test_a_damaged_file_is_named() -> None:
    accounts.save(accounts.Account(URL, TOKEN))
    accounts.accounts_file().write_text("{")
    with pytest.raises(InvalidAccountError, match="accounts.json"):
        accounts.saved()


@pytest.mark.parametrize(
    "url", [URL, f"{URL}/", f"{URL}/api/v1", f"{URL}/experimental/api/v1", f"{URL}/api/v1/"]
)
def test_the_path_of_the_api_is_left_off(url: str) -> None:
    assert accounts.origin(url) == URL
