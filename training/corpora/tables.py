"""Text and tables of corpora, in the encodings they are found in."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.errors import CorpusError


def read_text(path: Path, *, legacy: str) -> str:
    """Read a text file: UTF-16 by its mark, else UTF-8, else the ``legacy`` encoding."""
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode(legacy, errors="replace")


def read_table(
    path: Path, *, columns: Sequence[str] = (), delimiter: str | None = None, quoted: bool = True
) -> Iterator[dict[str, str]]:
    """Yield the rows below the header, column names in lower case, cells stripped; a missing cell is empty.

    Without ``delimiter`` it is whichever of comma, semicolon and tab the header holds most of. Tables that are not
    Unicode are taken for GB 18030, in which Chinese spreadsheets are saved.

    Raises:
        CorpusError: a column is missing, or the table cannot be read as one.
    """
    text = read_text(path, legacy="gb18030")
    header = text.partition("\n")[0]
    reader: Iterator[list[str]] = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter or max(",;\t", key=header.count),
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )
    rows = _cells(path, reader)
    names = [name.strip().lower() for name in next(rows, [])]
    missing = [column for column in columns if column not in names]
    if missing:
        raise CorpusError(
            f"{path} has no column {', '.join(missing)}; its first line is {header.strip()[:80]!r}",
            value=names,
            limit=columns,
        )
    for cells in rows:
        if any(cells):
            row = dict.fromkeys(names, "")
            row.update(zip(names, (cell.strip() for cell in cells), strict=False))
            yield row


def _cells(path: Path, reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise CorpusError(f"{path} cannot be read as a table: {error}", value=path) from error
