"""Containers of sound, examined from their bytes alone, before any decoder sees them."""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from model.errors import CorruptAudio, UnsupportedAudio

MAX_INDEX_ENTRIES = 2**20  # six hours of AAC at 48 kHz
MAX_TOP_LEVEL_BOXES = 100_000
MAX_OGG_PAGES = 100_000  # half an hour, even with one packet a page
MAX_DAMAGED_PAGES = 100
MAX_CHUNKS = 1_000
MAX_ID3_TAGS = 8
MAX_BESIDE_SAMPLES = 65_536
UNKNOWN_SIZE = 0x7FFF_F000  # this and more is what recorders write into a WAV whose length they do not know yet
PLAIN_ENCODINGS = {1, 3, 6, 7}  # integers, floats, A-law, mu-law
EXTENSIBLE_ENCODING = 0xFFFE
EXTENSIBLE_SUFFIX = bytes.fromhex("000000001000800000aa00389b71")
MIRRORED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Container(Enum):
    """A container we read."""

    WAV = "WAV"
    FLAC = "FLAC"
    OGG = "Ogg"
    AIFF = "AIFF"
    AU = "AU"
    MP3 = "MP3"
    AAC = "AAC"
    MP4 = "MP4"
    MATROSKA = "Matroska"


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What may be handed to a decoder; ``is_incomplete`` where the container itself says that bytes are missing."""

    container: Container
    data: bytes
    is_incomplete: bool


def examine(data: bytes) -> Examined:
    """Recognise a container, and keep from the decoders what makes them allocate or search without end.

    Raises:
        UnsupportedAudio: none that we read.
        CorruptAudio: nothing at all.
    """
    if not data:
        raise CorruptAudio("the recording is empty")
    data = _without_id3_tags(data)
    container = recognise(data)
    is_incomplete = False
    match container:
        case Container.WAV:
            is_incomplete = _wav_lacks_its_end(data)
        case Container.MP4:
            _refuse_forged_index(data)
            is_incomplete = any(end > len(data) for _, _, end in _top_level_boxes(data))
        case Container.OGG:
            pages = list(_sound_ogg_pages(data))
            ends = [bool(page[5] & 0x04) for page in pages]
            # One end, at the end: of several recordings in a row libsndfile reads the first.
            is_incomplete = ends.count(True) != 1 or not ends[-1] or sum(map(len, pages)) < len(data)
            data = b"".join(pages)
    return Examined(container=container, data=data, is_incomplete=is_incomplete)


def recognise(data: bytes) -> Container:
    """Tell the container from its first bytes; a name or a content type is not asked.

    Raises:
        UnsupportedAudio: none that we read.
    """
    match data[:4], data[4:8], data[8:12]:
        case (b"RIFF" | b"RIFX" | b"RF64", _, b"WAVE"):
            return Container.WAV
        case (b"FORM", _, b"AIFF" | b"AIFC"):
            return Container.AIFF
        case (b"fLaC", _, _):
            return Container.FLAC
        case (b"OggS", _, _):
            return Container.OGG
        case (b".snd", _, _):
            return Container.AU
        case (b"\x1a\x45\xdf\xa3", _, _):
            return Container.MATROSKA
        case (_, b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip", _):
            return Container.MP4
    if len(data) > 1 and data[0] == 0xFF:
        if data[1] & 0xF6 == 0xF0:  # ADTS: sync word, layer 0
            return Container.AAC
        if data[1] & 0xE0 == 0xE0 and data[1] & 0x06:  # MPEG audio: sync word, layer I to III
            return Container.MP3
    raise UnsupportedAudio("not a recording in a format that is supported", value=data[:12].hex())


def refuse_strangers(beginning: bytes) -> None:
    """Refuse by its first bytes, 12 at least, what no decoder need look at.

    Raises:
        UnsupportedAudio: not a container that we read.
        CorruptAudio: nothing at all.
    """
    if not beginning:
        raise CorruptAudio("the recording is empty")
    if beginning[:3] != b"ID3":
        recognise(beginning)


def is_plain_pcm(data: bytes) -> bool:
    """Tell a WAV whose samples lie there as they are, so that to read it costs what it measures.

    The description has to come first, for libsndfile believes the first of several, and little else may lie beside the
    samples. What is in doubt is not plain.
    """
    if data[:4] != b"RIFF" or data[8:16] != b"WAVEfmt ":
        return False
    size, encoding = struct.unpack("<IH", data[16:22].ljust(6, b"\0"))
    if encoding == EXTENSIBLE_ENCODING and size == 40 and data[46:60] == EXTENSIBLE_SUFFIX:
        encoding = int.from_bytes(data[44:46], "little")
    if encoding not in PLAIN_ENCODINGS or not 16 <= size <= 40:
        return False
    offset = 20 + size + size % 2
    while offset <= MAX_BESIDE_SAMPLES:
        name, size = data[offset : offset + 4], int.from_bytes(data[offset + 4 : offset + 8], "little")
        offset += 8 + size + size % 2
        if name == b"data":
            return size >= UNKNOWN_SIZE or len(data) - offset <= MAX_BESIDE_SAMPLES
    return False


def _without_id3_tags(data: bytes) -> bytes:
    """Players put ID3 tags before MP3, AAC and FLAC alike."""
    offset = 0
    for _ in range(MAX_ID3_TAGS):
        if data[offset : offset + 3] != b"ID3" or offset + 10 > len(data):
            break
        high, mid, low, last = data[offset + 6 : offset + 10]
        offset += 10 + (high << 21 | mid << 14 | low << 7 | last)
    return data[offset:]


def _wav_lacks_its_end(data: bytes) -> bool:
    """Whether the data chunk is cut short; libsndfile reads what is there and says nothing."""
    offset = 12
    for _ in range(MAX_CHUNKS if data[:4] == b"RIFF" else 0):
        name, size = data[offset : offset + 4], int.from_bytes(data[offset + 4 : offset + 8], "little")
        if name == b"data":
            return size < UNKNOWN_SIZE and offset + 8 + size > len(data)
        offset += 8 + size + size % 2
    return False


def _refuse_forged_index(data: bytes) -> None:
    """Refuse an MP4 whose index claims more frames than any recording has.

    FFmpeg allocates the index before it looks at the data: 30 million frames claimed in 50 KB cost 1.1 GB (measured).

    Raises:
        UnsupportedAudio: too many frames, or an index that is itself compressed.
    """
    entries = 0
    for name, start, end in _top_level_boxes(data):
        box = b"" if name == b"mdat" else data[start:end]
        for match in re.finditer(rb"stsz|stz2|trun|cmov", box):
            if match[0] == b"cmov":
                raise UnsupportedAudio("an MP4 with a compressed index is not read")
            count_at = match.end() + (4 if match[0] == b"trun" else 8)
            entries += int.from_bytes(box[count_at : count_at + 4], "big")
    if entries > MAX_INDEX_ENTRIES:
        raise UnsupportedAudio("the index of this MP4 is too large", value=entries, limit=MAX_INDEX_ENTRIES)


def _top_level_boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each box of an MP4; what cannot be told apart comes as one box without a name."""
    offset = 0
    for _ in range(MAX_TOP_LEVEL_BOXES):
        head = data[offset : offset + 16].ljust(16, b"\0")
        size, name, long_size = struct.unpack(">I4sQ", head)
        size = {0: len(data) - offset, 1: long_size}.get(size, size)
        if offset >= len(data) or size < 8:
            break
        yield name, offset, offset + size
        offset += size
    if offset < len(data):
        yield b"", offset, len(data)


def _sound_ogg_pages(data: bytes) -> Iterator[bytes]:
    """The undamaged pages of an Ogg.

    libogg looks for the next page at every forged beginning of one: 20 MB of them cost 13 s (measured).
    """
    offset = num_damaged = 0
    for _ in range(MAX_OGG_PAGES):
        page = _ogg_page_at(offset, data)
        if page:
            yield page
            offset += len(page)
            continue
        num_damaged += 1
        offset = data.find(b"OggS", offset + 1)
        if offset < 0 or num_damaged > MAX_DAMAGED_PAGES:
            return


def _ogg_page_at(offset: int, data: bytes) -> bytes:
    """A page, or nothing where there is none or its checksum does not match."""
    head = data[offset : offset + 27]
    if len(head) < 27 or head[:4] != b"OggS":
        return b""
    segments = data[offset + 27 : offset + 27 + head[26]]
    page = data[offset : offset + 27 + len(segments) + sum(segments)]
    # Ogg's CRC-32 is zlib's with the bits of every byte mirrored, and without inversion before and after.
    unsigned = (page[:22] + bytes(4) + page[26:]).translate(MIRRORED_BITS)
    checksum = zlib.crc32(unsigned, 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return page if page[22:26] == checksum.to_bytes(4, "big").translate(MIRRORED_BITS) else b""
