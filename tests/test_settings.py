"""Settings: read once, bounded, and none that nobody reads."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

import service
from service.settings import Settings


def test_a_misspelt_variable_is_refused_with_the_list_of_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCEMO_MAX_UPLOAD_MB", "25")
    with pytest.raises(ValidationError, match=r"VCEMO_MAX_UPLOAD_MB; known are .*VCEMO_MAX_UPLOAD_BYTES"):
        Settings()


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Settings(max_upload_mb=25)  # type: ignore[call-arg]


def test_variables_of_the_other_commands_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VCEMO_DATA", "elsewhere")
    monkeypatch.setenv("VCEMO_CACHE", str(tmp_path))
    assert Settings().cache == tmp_path


def test_an_option_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCEMO_PORT", "9000")
    assert Settings().port == 9000
    assert Settings(port=9001).port == 9001


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VCEMO_PORT", "70000"),
        ("VCEMO_MAX_UPLOAD_BYTES", "0"),
        ("VCEMO_DEVICE", "tpu"),
        ("VCEMO_REQUEST_TIMEOUT_SECONDS", "0"),
        ("VCEMO_CHANNEL_ROLES", "agent,,customer"),
        ("VCEMO_LOG_FORMAT", "xml"),
        ("VCEMO_CORS_ORIGINS", "one.example"),
        ("VCEMO_CORS_ORIGINS", "https://one.example/page"),
        ("VCEMO_CORS_ORIGINS", "https://one.example,*"),
    ],
)
def test_a_value_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_a_recording_that_could_never_fit_the_queue_is_a_bad_setting() -> None:
    with pytest.raises(ValidationError, match="must not exceed max_queue_utterances"):
        Settings(max_utterances=100, max_queue_utterances=99)


@pytest.mark.parametrize(
    ("keys", "refusal"),
    [
        ({}, "takes one of"),
        ({"admin_key_file": "key", "admin_key_sha256": "0" * 64}, "takes one of"),
        ({"admin_key_file": "nowhere"}, "admin_key_file cannot be read: No such file"),
        ({"admin_key_file": "short"}, "holds 3 bytes; a key has 16 at least"),
        ({"admin_key_sha256": "secret"}, "should match pattern"),
    ],
    ids=["none", "both", "missing file", "short key", "no digest"],
)
def test_an_admin_port_without_a_proper_key_is_a_bad_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: dict[str, str], refusal: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("abc\n")
    with pytest.raises(ValidationError, match=refusal):
        Settings.model_validate({"admin_port": 9001, **keys})


def test_an_admin_key_is_read_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("correct horse battery\n")
    digest = hashlib.sha256(b"correct horse battery").hexdigest()
    assert Settings(admin_port=9001, admin_key_file=str(key)).read_admin_digest() == digest
    assert Settings(admin_port=9001, admin_key_sha256=digest).read_admin_digest() == digest


def test_the_admin_port_is_not_the_port_of_everybody_else() -> None:
    with pytest.raises(ValidationError, match="must not be the port of everybody else"):
        Settings(port=9001, admin_port=9001, admin_key_sha256="0" * 64)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


def test_roles_are_read_in_the_order_of_channels() -> None:
    assert Settings(channel_roles="agent,customer").roles().names == ("agent", "customer")
    assert Settings().roles().names == ()


def test_origins_are_none_unless_named() -> None:
    assert Settings().origins == ()
    assert Settings(cors_origins="*").origins == ("*",)
    named = "https://one.example,http://localhost:3000"
    assert Settings(cors_origins=named).origins == ("https://one.example", "http://localhost:3000")


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_setting_is_read_somewhere() -> None:
    folder = Path(service.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    read_through = {
        "channel_roles": "roles",
        "unjudged_roles": "roles",
        "cors_origins": "origins",
        "admin_key_file": "read_admin_digest",
        "admin_key_sha256": "read_admin_digest",
    }
    unread = [name for name in Settings.model_fields if f"ettings.{read_through.get(name, name)}" not in code]
    assert unread == []
