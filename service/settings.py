"""Every choice an operator has, read once at start."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.assets import default_cache
from service.roles import Roles

PREFIX: Final = "VCEMO_"

_KNOWN_ELSEWHERE: Final = frozenset({"VCEMO_CACHE", "VCEMO_DATA"})
"""Variables of the project that other commands read."""
_LEAST_KEY_BYTES: Final = 16
ROLES_PATTERN: Final = r"[a-z][a-z0-9_-]{0,31}(,[a-z][a-z0-9_-]{0,31}){0,7}"
"""Roles separated by commas, one a channel."""


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "vcemo"


def _default_database(given: Mapping[str, Any]) -> str:
    return f"sqlite:///{given.get('state_folder') or _state_folder()}/vcemo.sqlite3"


class Settings(BaseSettings):
    """Set each as a variable ``VCEMO_NAME`` or an option ``--name``; the option wins."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface, as in a container."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """Port to listen on; 0 takes any that is free."""
    bundle: Path = Path("artifacts/vcemo-whisper-zh")
    """Folder of the trained bundle."""
    bundle_store: str = ""
    """Folder or URL of a bundle store (`python -m model.bundles`), whose current version is served in place of the
    bundle's folder, and followed; empty follows none."""
    bundle_store_folder: Path = Field(default_factory=lambda: _state_folder() / "bundles")
    """Folder that versions of the store are copied to."""
    bundle_store_poll_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """How often the store's pointer is looked at, in seconds."""
    candidate_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of requests that the store's candidate, where there is one, judges as well, unheard, to be compared."""
    cache: Path = Field(default_factory=default_cache)
    """Folder of the pre-trained parts that `python -m model.assets fetch` fills."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where Whisper and the fusion network run."""
    compute_type: Literal["", "int8", "int8_float32", "int8_float16", "float16", "float32"] = ""
    """Whisper's arithmetic; empty takes what the bundle was trained with, others must pass its golden recording."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """Threads of each numeric engine; 0 takes the processors that affinity and the cgroup quota grant."""

    max_upload_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 25 * 1024 * 1024
    """Largest request body, in bytes."""
    max_clip_seconds: Annotated[float, Field(ge=1, le=7200)] = 600.0
    """Longest recording, in seconds."""
    max_channels: Annotated[int, Field(ge=1, le=8)] = 2
    """Most channels of a recording; each one is heard on its own."""
    max_utterances: Annotated[int, Field(ge=1, le=2000)] = 200
    """Most utterances of one recording."""
    max_concurrent_requests: Annotated[int, Field(ge=1, le=1024)] = 32
    """Most recordings held at once, uploading ones included; bounds the memory. One more is refused."""
    max_concurrent_decodes: Annotated[int, Field(ge=1, le=64)] = 2
    """Most recordings that are decoded, or searched for speech, at the same time; as many decode workers are kept."""
    max_decode_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Longest time that a worker may decode one recording, in seconds; plain PCM needs no worker."""
    max_decode_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    """Most memory that a worker may take for one recording; 0 takes what the longest one needs, in bytes."""
    max_batch_asr_utterances: Annotated[int, Field(ge=1, le=128)] = 8
    """Most utterances in one batch of speech recognition."""
    max_batch_fusion_utterances: Annotated[int, Field(ge=1, le=512)] = 32
    """Most utterances in one batch of the fusion network."""
    max_queue_utterances: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Most utterances that wait before a stage; a request that does not fit is refused at once."""
    max_batch_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """A stage that works longer on one batch is stuck, and /health/live and /health/ready turn red; in seconds."""
    request_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Longest time from a request's first byte to its answer, in seconds; and for a caller to take the answer."""
    request_head_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Longest time to send a request's line and headers, in seconds; from connecting, or from the answer before."""
    max_connections: Annotated[int, Field(ge=8, le=65_536)] = 512
    """Most connections at once. For one more, that which has asked for nothing the longest is ended."""

    max_live_calls: Annotated[int, Field(ge=0, le=1024)] = 16
    """Most live calls at once, those included that wait for their client to come back; 0 has none."""
    max_call_seconds: Annotated[float, Field(ge=1, le=86_400)] = 7200.0
    """Longest live call, in seconds."""
    resume_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long a live call waits for a client whose connection broke, in seconds; then it ends as if told to."""
    ended_call_seconds: Annotated[float, Field(ge=0, le=86_400)] = 900.0
    """How long a live call that has ended stays on the board, and can be asked for what was missed, in seconds."""
    heartbeat_seconds: Annotated[float, Field(ge=1, le=300)] = 20.0
    """A WebSocket is asked this often whether it is alive, and closed if it says nothing for as long; in seconds."""
    slow_client_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """A client that has not read what it was sent for so long is disconnected, in seconds."""
    keep_live_calls: bool = True
    """Keep what a live call needs to go on after a restart, below state_folder and in the database, while it lasts."""

    alert_rules_file: str = ""
    """TOML file of the rules that raise alerts, and of the webhooks that they are sent to; empty raises none."""

    api_keys_file: str = ""
    """TOML file of the API keys that may ask (`python -m service key NAME` makes one); empty asks nobody for a key."""
    cors_origins: Annotated[str, Field(pattern=r"^$|^\*$|^https?://[^\s,/]+(,https?://[^\s,/]+)*$")] = ""
    """Origins of pages that may ask from a browser, such as "https://one.example,https://two.example"; empty: none."""

    linger_seconds: Annotated[float, Field(ge=0, le=300)] = 0.0
    """After SIGTERM still accept for so long, not ready, until load balancers have noticed; in seconds."""
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """After that, longest time that requests in flight are given to finish, in seconds."""

    state_folder: Path = Field(default_factory=_state_folder)
    """Folder of what has to outlive the process: the uploads of jobs that are not done, and the default database."""
    database_url: str = Field(default_factory=_default_database)
    """Database, as SQLAlchemy writes it, of what has to outlive the process, such as jobs and feedback."""

    max_job_upload_bytes: Annotated[int, Field(ge=1024, le=1 << 33)] = 256 * 1024 * 1024
    """Largest request body of a job, in bytes; it is kept in the state folder until the job is done."""
    max_job_seconds: Annotated[float, Field(ge=1, le=86_400)] = 7200.0
    """Longest recording of a job, in seconds."""
    max_waiting_jobs: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Most jobs that wait, uploading ones included; bounds the state folder. One more is refused."""
    job_upload_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """Longest time that the upload of a job may take, in seconds."""
    job_expiry_seconds: Annotated[float, Field(ge=1, le=366 * 86_400)] = 86_400.0
    """So long after its end a job and its result, transcript included, are kept, in seconds."""
    feedback_memory_bytes: Annotated[int, Field(ge=0, le=1 << 34)] = 32 * 1024 * 1024
    """Most memory for what the network saw of recent segments, which feedback may correct; 0 takes none, in bytes."""
    feedback_audio: bool = False
    """Keep the sound of corrected segments as well, in that memory and in the database."""

    admin_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port to reload the bundle through; 0 has none. With it, SIGHUP reloads the configured bundle as well."""
    admin_host: str = "127.0.0.1"
    """Address that the admin port listens on; a network that callers cannot reach."""
    admin_key_file: str = ""
    """File whose one line is the admin port's key, of 16 characters at least; or give admin_key_sha256."""
    admin_key_sha256: Annotated[str, Field(pattern=r"^$|^[0-9a-f]{64}$")] = ""
    """The sha256 of the admin port's key in hexadecimal, so that the key itself is nowhere on this machine."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe record that is written; probes are logged at debug."""
    log_format: Literal["json", "text"] = "text"
    """json: one object a line, for machines; text: for people, with a banner when ready."""
    traces_endpoint: Annotated[str, Field(pattern=r"^$|^https?://")] = ""
    """OpenTelemetry collector that spans are sent to, such as http://collector:4318/v1/traces; empty records none."""
    redact_transcript: bool = False
    """Answer with null in place of every transcript text."""
    channel_roles: Annotated[str, Field(pattern=f"^$|^{ROLES_PATTERN}$")] = ""
    """Who speaks on each channel of a recording, in order, such as "agent,customer"; a request may say otherwise."""
    unjudged_roles: Annotated[str, Field(pattern=f"^$|^{ROLES_PATTERN}$")] = ""
    """Roles whose emotion must not be inferred, such as "agent": their speech is written down and never judged."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_variables(cls, given: Any) -> Any:
        # pydantic-settings forbids extras in a .env file only, never in the environment: a misspelt
        # limit would silently be no limit.
        known = {f"{PREFIX}{name.upper()}" for name in cls.model_fields} | _KNOWN_ELSEWHERE
        unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
        if unknown:
            raise ValueError(
                f"unknown variables {', '.join(unknown)}; known are {', '.join(sorted(known))}. "
                "(Kubernetes injects some for a Service of that name: set enableServiceLinks: false.)"
            )
        return given

    @model_validator(mode="after")
    def _every_accepted_request_fits_the_queue(self) -> Self:
        if self.max_utterances > self.max_queue_utterances:
            raise ValueError(
                f"max_utterances ({self.max_utterances}) must not exceed max_queue_utterances "
                f"({self.max_queue_utterances}): such a request would be refused for ever"
            )
        return self

    @model_validator(mode="after")
    def _the_admin_port_has_one_key(self) -> Self:
        if self.admin_port and bool(self.admin_key_file) == bool(self.admin_key_sha256):
            raise ValueError("admin_port takes one of admin_key_file and admin_key_sha256")
        if self.admin_port and self.admin_port == self.port:
            raise ValueError(f"admin_port ({self.admin_port}) must not be the port of everybody else")
        if self.admin_port:
            self.read_admin_digest()
        return self

    def read_admin_digest(self) -> str:
        """Return the sha256 of the admin port's key, in hexadecimal.

        Raises:
            ValueError: the key's file cannot be read, or holds no key that is long enough.
        """
        if not self.admin_key_file:
            return self.admin_key_sha256
        try:
            key = Path(self.admin_key_file).read_bytes().strip()
        except OSError as error:
            raise ValueError(f"admin_key_file cannot be read: {error.strerror}") from error
        if len(key) < _LEAST_KEY_BYTES:
            raise ValueError(f"admin_key_file holds {len(key)} bytes; a key has {_LEAST_KEY_BYTES} at least")
        return hashlib.sha256(key).hexdigest()

    @property
    def origins(self) -> tuple[str, ...]:
        """Each origin that is allowed, empty where none is."""
        return tuple(self.cors_origins.split(",")) if self.cors_origins else ()

    def roles(self, asked: str = "") -> Roles:
        """Who speaks on each channel and may be judged. asked: the channels' roles as a request names them, if any."""
        names = asked or self.channel_roles
        return Roles(
            names=tuple(names.split(",")) if names else (),
            unjudged=frozenset(self.unjudged_roles.split(",")) if self.unjudged_roles else frozenset(),
        )
