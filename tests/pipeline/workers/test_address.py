"""Which Ray a command uses."""

from __future__ import annotations

import os
from unittest import mock

import pytest

from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.workers.address import VARIABLE, present_token, ray_address

DISABLED = {"RAY_AUTH_MODE": "disabled"}


@pytest.mark.parametrize(
    ("given", "environment", "used"),
    [
        (None, None, None),
        (None, "", None),
        (None, "10.0.0.7:6379", "10.0.0.7:6379"),
        ("auto", "10.0.0.7:6379", "auto"),
        ("10.0.0.8:6379", "http://10.0.0.7:8265", "10.0.0.8:6379"),
        ("local", "10.0.0.7:6379", None),
        (None, "local", None),
    ],
)
def test_what_was_given_counts_before_the_environment(monkeypatch, given, environment, used) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if environment is not None:
        monkeypatch.setenv(VARIABLE, environment)
    assert ray_address(given) == used


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://127.0.0.1:8265", "the address of Ray's job API, not of a cluster to run on; submit the run with"),
        ("ray://127.0.0.1:10001", "Ray Client's, which vsumdata does not use; give HOST:PORT of the cluster"),
    ],
)
def test_addresses_of_another_kind_are_refused_in_one_line(monkeypatch, address, why) -> None:
    for given, environment, where in ((address, "", "--address"), (None, address, VARIABLE)):
        monkeypatch.setenv(VARIABLE, environment)
        with pytest.raises(UsageError, match=why) as raised:
            ray_address(given)
        assert str(raised.value).startswith(f"{where}: {address} is ")
        assert "\n" not in str(raised.value)


def test_the_users_token_is_sent_unless_the_environment_decides(tmp_path) -> None:
    (tmp_path / ".ray").mkdir()
    for has_token, before, after in ((False, {}, None), (True, {}, "token"), (True, DISABLED, "disabled")):
        with mock.patch.dict(os.environ, {"HOME": str(tmp_path)} | before, clear=True):
            if has_token:
                (tmp_path / ".ray/auth_token").write_text("secret")
            present_token()
            assert os.environ.get("RAY_AUTH_MODE") == after
