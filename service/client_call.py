"""What our client knows of a live call: what it has sent, what was received, and what to say when it comes back."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from model.errors import ServiceRefused
from service.call_format import CallFormat

MAX_AHEAD_SECONDS: Final = 10.0
"""Sound that is sent and not acknowledged; more is not taken before there is room, so memory is bounded."""
_MESSAGE_SECONDS: Final = 0.1

Event = dict[str, Any]


class ClientCall:
    """Keeps sound until the service has it, so that a broken connection or a restart loses none and repeats none."""

    def __init__(self, url: str, call_format: CallFormat, *, channel_roles: str = "") -> None:
        """url: of the service, such as http://localhost:8000."""
        self.format = call_format
        self.session_id = ""
        self.resume_seconds = 0.0
        self.is_fed = False
        """Whether no more sound comes."""
        self.is_over = False
        """Whether the summary was received."""
        self._url = url
        self._roles = channel_roles
        self._kept = bytearray()
        self._first_frame = 0
        self._num_sent = 0
        self._seq = 0

    @property
    def address(self) -> str:
        """Where to connect: to a new call, or to this one behind what was received of it."""
        asked: dict[str, Any]
        if self.session_id:
            asked = {"session_id": self.session_id, "after_seq": self._seq}
        else:
            asked = {
                "encoding": self.format.encoding,
                "sample_rate_hz": self.format.sample_rate_hz,
                "channels": self.format.channels,
            }
            if self._roles:
                asked["channel_roles"] = self._roles
        scheme, host, path, _, _ = urlsplit(self._url)
        secure = "wss" if scheme in ("https", "wss") else "ws"
        return urlunsplit((secure, host, f"{path.rstrip('/')}/v1/stream", urlencode(asked), ""))

    @property
    def has_room(self) -> bool:
        """Whether more sound may be taken."""
        return len(self._kept) < MAX_AHEAD_SECONDS * self.format.second_bytes

    def take(self, data: bytes) -> None:
        """Take whole frames of sound, to be sent."""
        self._kept += data

    def next_message(self) -> bytes:
        """Return the next piece to be sent; empty where there is none."""
        begin = self._num_sent
        size = round(_MESSAGE_SECONDS * self.format.sample_rate_hz) * self.format.frame_bytes
        data = bytes(self._kept[begin : begin + size])
        self._num_sent += len(data)
        return data

    def receive(self, text: str | bytes) -> Event:
        """Take in a message of the service, and return it.

        Raises:
            ServiceRefused: it is a problem.
        """
        event: Event = json.loads(text)
        kind = event["type"]
        if kind == "problem":
            raise refused(event)
        self._seq = max(self._seq, event["seq"])
        if kind in ("session", "ack"):
            self._let_go(event["received_ms"])
        if kind == "session":
            self.session_id, self.resume_seconds = event["session_id"], event["resume_seconds"]
            # Whatever was under way on a connection before is sent again.
            self._num_sent = 0
        self.is_over = self.is_over or kind == "summary"
        return event

    def _let_go(self, received_ms: int) -> None:
        received = received_ms * self.format.sample_rate_hz // 1000
        num_bytes = (received - self._first_frame) * self.format.frame_bytes
        if num_bytes > 0:
            del self._kept[:num_bytes]
            self._num_sent = max(0, self._num_sent - num_bytes)
            self._first_frame = received


def refused(problem: Mapping[str, Any]) -> ServiceRefused:
    """Turn a problem document into our error."""
    detail = problem.get("detail") or problem.get("title") or "the service refused"
    return ServiceRefused(
        str(detail), problem_code=problem.get("code", ""), value=problem.get("value"), limit=problem.get("limit")
    )
