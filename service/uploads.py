"""A recording out of a request: bytes counted while they arrive, whatever the headers say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from model.errors import Cancelled, InvalidUpload, UnsupportedAudio, UploadTooLarge

FILE_FIELD: Final = "file"
MAX_PARTS: Final = 8
MAX_FIELD_BYTES: Final = 64 * 1024
MAX_OPTION_BYTES: Final = 1024
"""Of each field of text."""

_RAW_TYPES: Final = ("audio/", "video/", "application/octet-stream", "application/ogg")
"""Browsers call their recordings video/webm now and then; the decoder judges the bytes alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A recording, and the form's fields of text beside it."""

    recording: bytes
    fields: Mapping[str, str]


async def read_upload(request: Request, *, max_bytes: int) -> Upload:
    """Read the recording of a multipart form (field ``file``) or of a raw body into memory; raises as the other."""
    raw = bytearray()  # and no list of chunks: a body in one-byte chunks would cost 60 times its size
    fields = await receive_upload(request, max_bytes=max_bytes, take=raw.extend)
    return Upload(recording=bytes(raw), fields=fields)


async def receive_upload(request: Request, *, max_bytes: int, take: Callable[[bytes], object]) -> Mapping[str, str]:
    """Hand the recording of a form or of a raw body to ``take``, piece by piece; return the form's fields of text.

    Raises:
        UploadTooLarge: the body has, or announces, more than ``max_bytes``.
        UnsupportedAudio: the content type or encoding is none that carries a recording.
        InvalidUpload: the form is malformed, or holds no recording or several.
        Cancelled: the caller went away while sending.
    """
    announced = int(request.headers.get("content-length", 0))
    if announced > max_bytes:
        raise _too_large(announced, max_bytes)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedAudio("send the recording without Content-Encoding")
    content_type = request.headers.get("content-type", "application/octet-stream").strip().lower()
    form = _Form(request.headers["content-type"], take) if content_type.startswith("multipart/form-data") else None
    if form is None and not content_type.startswith(_RAW_TYPES):
        raise UnsupportedAudio(
            "send multipart/form-data with a part named file, or a raw body as audio/* or application/octet-stream",
            value=content_type[:80],
        )
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(received, max_bytes)
            if form is None:
                take(chunk)
            else:
                form.feed(chunk)
    except ClientDisconnect as error:
        raise Cancelled("the caller went away while sending") from error
    return {} if form is None else form.fields()


class _Form:
    """A multipart form: the part named ``file`` is handed on, other fields are bounded, and kept as far as short."""

    def __init__(self, content_type: str, take: Callable[[bytes], object]) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise InvalidUpload("the multipart content type names no boundary")
        self._header = (bytearray(), bytearray())
        self._disposition = ""
        self._hand_on = take
        self._has_recording = self._is_in_recording = False
        self._fields: dict[str, bytearray] = {}
        self._current: bytearray | None = None
        self._field_bytes = 0
        self._num_parts = 0
        self._is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_part,
                    "on_part_data": self._take,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidUpload("the multipart boundary is not usable") from error

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidUpload("the multipart body is malformed") from error

    def fields(self) -> dict[str, str]:
        """Return the fields of text by name, once all was fed; those that are too long or no text are passed over."""
        if not self._is_complete:
            raise InvalidUpload("the multipart body ends before its last boundary")
        if not self._has_recording:
            raise InvalidUpload(f"the form has no part named {FILE_FIELD}")
        texts = {name: content.decode("utf-8", errors="replace") for name, content in self._fields.items()}
        return {name: text for name, text in texts.items() if len(text) <= MAX_OPTION_BYTES}

    def _begin_part(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise InvalidUpload("the form has too many parts", value=self._num_parts, limit=MAX_PARTS)
        self._disposition = ""
        self._current = None
        self._is_in_recording = False

    def _end_header(self) -> None:
        name, value = (bytes(part).decode("latin-1") for part in self._header)
        if name.lower() == "content-disposition":
            self._disposition = value
        self._header[0].clear()
        self._header[1].clear()

    def _open_part(self) -> None:
        header = Message()
        header["content-disposition"] = self._disposition
        name = header.get_param("name", header="content-disposition")
        if name != FILE_FIELD and header.get_filename() is None:
            self._current = self._fields[str(name)] = bytearray()
            return
        if name != FILE_FIELD or self._has_recording:
            raise InvalidUpload(f"send exactly one recording, as the part named {FILE_FIELD}")
        self._has_recording = self._is_in_recording = True

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_recording:
            self._hand_on(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > MAX_FIELD_BYTES:
            raise InvalidUpload("the form's other fields are too large", value=self._field_bytes, limit=MAX_FIELD_BYTES)
        if self._current is not None:
            self._current += data[start:end]

    def _end(self) -> None:
        self._is_complete = True


def _too_large(value: int, limit: int) -> UploadTooLarge:
    return UploadTooLarge(f"the request body has more than {limit} bytes", value=value, limit=limit)
