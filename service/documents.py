"""A small JSON document as a request's body: read whole, but never more of it than such a document needs."""

from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from model.errors import Cancelled, UploadTooLarge

Document = TypeVar("Document", bound=BaseModel)


async def read_document(request: Request, kind: type[Document], *, max_bytes: int) -> Document:
    """Read the body as a document of ``kind``; an empty body is an empty object.

    FastAPI's own reading comes before any limit, and before the guard of a key.

    Raises:
        UploadTooLarge: it has more than ``max_bytes``.
        Cancelled: the caller went away.
        RequestValidationError: it is no such document.
    """
    raw = bytearray()
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > max_bytes:
                raise UploadTooLarge(
                    f"the request body has more than {max_bytes} bytes", value=len(raw), limit=max_bytes
                )
        return kind.model_validate_json(bytes(raw) or b"{}")
    except ClientDisconnect as error:
        raise Cancelled("the caller went away while sending") from error
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
