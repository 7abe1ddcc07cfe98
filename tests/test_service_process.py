"""``python -m service`` as a process of its own: start, readiness, signals, exit codes."""

import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from service_fixtures import BUNDLE, PATIENCE_SECONDS, ROOT, wait_until

from model.recognizer import EmotionRecognizer
from service.keys import Keyring

pytest_plugins = ("service_fixtures",)


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def started(recognizer: EmotionRecognizer, tmp_path: Path) -> "Iterator[tuple[subprocess.Popen[str], str, Path]]":
    """A process that is loading, its address, and where its log goes."""
    port, log = free_port(), tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", f"--port={port}", f"--bundle={BUNDLE}", "--linger-seconds=0.5"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    yield process, f"http://127.0.0.1:{port}", log
    process.kill()
    process.communicate()


def status(client: httpx.Client, path: str) -> int:
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return 0


def test_a_process_is_alive_then_ready_and_on_sigterm_finishes_its_work_and_leaves_with_zero(
    started: "tuple[subprocess.Popen[str], str, Path]", long_speech: bytes
) -> None:
    process, url, log = started
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        wait_until(lambda: status(client, "/health/live") == 200)
        assert status(client, "/health/ready") == status(client, "/health/startup") == 503
        refusal = client.post("/predict", content=b"RIFF", headers={"Content-Type": "audio/wav"})
        assert (refusal.status_code, refusal.json()["code"]) == (503, "not_ready")
        assert process.stdout is not None
        banner = next(line for line in process.stdout if "curl" in line)
        assert f"curl -F file=@recording.wav http://localhost:{url.rpartition(':')[2]}/predict" in banner
        assert status(client, "/health/ready") == 200
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()  # which spaCy imports where it is

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            judging = pool.submit(client.post, "/predict", files={"file": ("secret-name.wav", long_speech)})
            wait_until(lambda: "vcemo_requests_in_flight 1.0" in client.get("/metrics").text)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: status(client, "/health/ready") == 503)
            assert status(client, "/health/startup") == status(client, "/health/live") == 200
            answer = judging.result()
    process.wait(PATIENCE_SECONDS)
    assert process.returncode == 0
    assert answer.status_code == 200
    records = log.read_text(encoding="utf-8")
    assert "draining" in records
    assert f"request_id={answer.json()['request_id']}" in records
    assert answer.json()["transcript"]["text"] not in records
    assert "secret-name" not in records


def test_missing_parts_are_named_with_the_command_that_fetches_them(
    recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    ended = run("--port=0", f"--bundle={BUNDLE}", f"--cache={tmp_path}")
    assert ended.returncode == 1
    assert re.search(r"error: asset \S+ is not in .*python -m model.assets fetch", ended.stderr)
    assert "Traceback" not in ended.stderr


def test_a_bundle_that_does_not_verify_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text('{"schema_version": 99}')
    ended = run("--port=0", f"--bundle={tmp_path}")
    assert ended.returncode == 1
    assert "error: the bundle has schema version 99, this program reads 1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bad_setting_is_one_line_and_not_a_traceback() -> None:
    ended = run("--max-upload-bytes=lots")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: max_upload_bytes: ")
    assert re.search(r"known are .*VCEMO_BUNDLE", run(VCEMO_MAX_UPLOAD_MB="25").stderr)


def test_an_admin_key_that_cannot_be_read_is_one_line_too(tmp_path: Path) -> None:
    ended = run("--admin-port=9001", VCEMO_ADMIN_KEY_FILE=str(tmp_path / "nowhere"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: admin_key_file cannot be read: No such file or directory\n"


def test_the_schema_command_prints_the_published_schema() -> None:
    published = (ROOT / "docs" / "schema" / "predict-v1.json").read_text(encoding="utf-8")
    assert run("schema").stdout == published


def test_a_file_of_keys_that_cannot_be_used_stops_the_start_in_one_line(tmp_path: Path) -> None:
    ended = run("--port=0", f"--api-keys-file={tmp_path}/keys.toml")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"error: \S+keys\.toml: the file of API keys cannot be read: [^\n]+\n", ended.stderr)


def test_the_key_command_shows_the_key_apart_from_the_lines_for_the_file(tmp_path: Path) -> None:
    made = run("key", "dashboard")
    assert made.returncode == 0
    (secret,) = re.findall(r"\bvcemo_\S+", made.stderr)
    assert secret not in made.stdout
    (tmp_path / "keys.toml").write_text(made.stdout, encoding="utf-8")
    assert Keyring(tmp_path / "keys.toml").find(secret).name == "dashboard"
    assert run("key").returncode == run("key", "Not A Name").returncode == run("serve", "dashboard").returncode == 2


def test_help_teaches_every_option_and_an_example() -> None:
    taught = run("--help").stdout
    assert "VCEMO_MAX_UPLOAD_BYTES" in taught
    assert "python -m service --host 0.0.0.0 --port 9000" in taught
    assert "python -m service key dashboard >> keys.toml" in taught


def test_serving_imports_nothing_of_training() -> None:
    script = "import json, sys, service.__main__; print(json.dumps(sorted(sys.modules)))"
    listed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = json.loads(listed.stdout)
    assert not [name for name in modules if name.split(".")[0] in ("training", "transformers", "matplotlib")]
    assert not [name for name in modules if name in ("model.network", "model.encoders")]
