"""API keys: hashed in a file, found, rotated, and never quoted."""

import hashlib
import logging
import os
from pathlib import Path

import pytest

from model.errors import KeysInvalid, Unauthorized
from service.keys import Keyring, make_key, read_keys


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def added(file: Path, name: str, *fields: str) -> str:
    """Make a key, add its lines to the file, and return it."""
    secret, lines = make_key(name)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(before + lines + "".join(f"{field}\n" for field in fields), encoding="utf-8")
    return secret


def test_a_key_is_found_by_the_lines_that_were_printed_with_it(file: Path) -> None:
    secrets = {name: added(file, name) for name in ("dashboard", "batch", "audit_2")}
    keyring = Keyring(file)
    assert {name: keyring.find(secret).name for name, secret in secrets.items()} == {name: name for name in secrets}


def test_a_key_is_random_long_and_not_in_the_file(file: Path) -> None:
    secrets = {added(file, f"key-{number}") for number in range(20)}
    assert len(secrets) == 20
    assert all(len(secret) > 40 and secret.startswith("vcemo_") for secret in secrets)
    assert not [secret for secret in secrets if secret in file.read_text(encoding="utf-8")]


def test_what_is_almost_a_key_is_not_one(file: Path) -> None:
    secret = added(file, "dashboard")
    keyring = Keyring(file)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    for wrong in ("", secret[:-1], secret + " ", secret.upper(), digest, "dashboard", "\xe9\u4f60"):
        with pytest.raises(Unauthorized, match="not known"):
            keyring.find(wrong)


def test_limits_are_read_and_may_be_left_out(file: Path) -> None:
    added(file, "bounded", "requests_per_minute = 30", "max_concurrent = 2", "expires = 2999-01-01T00:00:00Z")
    added(file, "free")
    bounded, free = read_keys(file)
    assert (bounded.requests_per_minute, bounded.max_concurrent) == (30, 2)
    assert (free.requests_per_minute, free.max_concurrent, free.expires) == (None, None, None)


def test_a_key_that_has_expired_is_refused_and_its_caller_told_why(file: Path) -> None:
    old = added(file, "old", "expires = 2001-01-01T00:00:00Z")
    young = added(file, "young", "expires = 2999-01-01T00:00:00Z")
    keyring = Keyring(file)
    assert keyring.find(young).name == "young"
    with pytest.raises(Unauthorized, match="expired"):
        keyring.find(old)


def test_a_changed_file_is_read_again_and_looked_at_once_a_second(file: Path) -> None:
    clock = Clock()
    old = added(file, "old")
    keyring = Keyring(file, now=clock)
    file.unlink()
    new = added(file, "new")
    clock.seconds = 0.9
    assert keyring.find(old).name == "old"
    clock.seconds = 1.0
    assert keyring.find(new).name == "new"
    with pytest.raises(Unauthorized):
        keyring.find(old)


def test_a_file_that_was_renamed_over_is_seen_though_size_and_time_are_the_same(file: Path, tmp_path: Path) -> None:
    clock = Clock()
    added(file, "one")
    other = tmp_path / "other.toml"
    new = added(other, "two")
    keyring = Keyring(file, now=clock)
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert other.stat().st_size == status.st_size
    other.replace(file)
    clock.seconds = 1.0
    assert keyring.find(new).name == "two"


def test_a_link_that_is_turned_to_another_folder_is_followed_as_in_a_mounted_secret(tmp_path: Path) -> None:
    clock = Clock()
    for version, name in (("v1", "one"), ("v2", "two")):
        (tmp_path / version).mkdir()
        secret = added(tmp_path / version / "keys.toml", name)
    (tmp_path / "now").symlink_to("v1")
    keyring = Keyring(tmp_path / "now" / "keys.toml", now=clock)
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").replace(tmp_path / "now")
    clock.seconds = 1.0
    assert keyring.find(secret).name == "two"


def test_a_broken_new_file_keeps_the_old_keys_until_it_is_mended(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    old = added(file, "old")
    keyring = Keyring(file, now=clock)
    caplog.set_level(logging.DEBUG, "service")
    for number, text in enumerate(("", "[hidden-name]\nsha256 = 'pasted-secret'", "pasted-secret", None), start=1):
        if text is None:
            file.unlink()
        else:
            file.write_text(text, encoding="utf-8")
        clock.seconds += 1
        assert keyring.find(old).name == "old"
        clock.seconds += 1
        assert keyring.find(old).name == "old"
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == number, "one warning a change"
    told = "".join(str(vars(record)) for record in caplog.records)
    assert "hidden-name" not in told
    assert "pasted-secret" not in told
    new = added(file, "new")
    clock.seconds += 1
    assert keyring.find(new).name == "new"


SHA256 = "0" * 64


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no API key"),
        ("pasted-secret", "not TOML at end of document"),
        ('[one]\nsha256 = "pasted-secret', "not TOML at"),
        ("[one]\n[one]\n", "not TOML at line 2"),
        ('pasted = "secret"', "table 1: not a table"),
        ('[one]\nsha256 = "pasted-secret"', "table 1: sha256: String should match"),
        ("[one]", "table 1: sha256: Field required"),
        (f'[one]\nsha256 = "{SHA256}"\npasted-secret = 1', "table 1: has a field that is none of expires"),
        (f'[one]\nsha256 = "{SHA256}"\nname = "pasted-secret"', "table 1: has a field that is none of"),
        (f'[Pasted-Secret]\nsha256 = "{SHA256}"', "table 1: name: String should match"),
        (f'[one]\nsha256 = "{SHA256}"\nrequests_per_minute = 0', "requests_per_minute: Input should be greater"),
        (f'[one]\nsha256 = "{SHA256}"\nmax_concurrent = "2"', "max_concurrent: Input should be a valid integer"),
        (f'[one]\nsha256 = "{SHA256}"\nexpires = 2030-01-31', "expires: Input should be a valid datetime"),
        (f'[one]\nsha256 = "{SHA256}"\nexpires = 2030-01-31T00:00:00', "expires: Input should have timezone"),
        (f'[one]\nsha256 = "{SHA256}"\n[two]\nsha256 = "{SHA256}"', "two API keys have the same sha256"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_quotes_nothing(file: Path, text: str, reason: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(KeysInvalid, match=reason) as refused:
        Keyring(file)
    assert "secret" not in refused.value.message.lower()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeysInvalid, match=r"none\.toml: the file of API keys cannot be read: No such file"):
        Keyring(tmp_path / "none.toml")
    with pytest.raises(KeysInvalid, match="cannot be read: Is a directory"):
        Keyring(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe" * 9)
    with pytest.raises(KeysInvalid, match="not TOML in UTF-8"):
        Keyring(binary)
    binary.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(KeysInvalid, match="that large"):
        Keyring(binary)


@pytest.mark.parametrize("name", ["", "Dash", "a b", "-a", "a" * 33, "a.b", "a\n", "名"])
def test_a_name_that_logs_and_metrics_could_not_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a key's name is"):
        make_key(name)
