"""Containers, judged by their bytes alone."""

import io
import struct

import pytest
import soundfile

from bench.serving.bombs import media_file, sound_file
from model.containers import MAX_BESIDE_SAMPLES, is_plain_pcm

WAV = sound_file("WAV")


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_samples_as_they_are_count_as_plain(container: str, subtype: str) -> None:
    assert is_plain_pcm(sound_file(container, subtype))


@pytest.mark.parametrize(
    "data",
    [
        *(pytest.param(sound_file("WAV", name), id=name) for name in ("IMA_ADPCM", "MS_ADPCM", "GSM610")),
        *(pytest.param(sound_file(name), id=name) for name in ("FLAC", "AIFF", "AU", "RF64", "MP3")),
        pytest.param(media_file("wav", "mp3"), id="MP3 in a WAV"),
        pytest.param(WAV[:12] + b"JUNK\0\0\0\0" + WAV[12:], id="description not first"),
        pytest.param(WAV[:16] + struct.pack("<I", 0xFFFF_FFFF) + WAV[20:], id="endless description"),
        pytest.param(WAV[:36] + b"junk\xff\xff\xff\x7f" + WAV[36:], id="endless chunk"),
        pytest.param(WAV[:36] + b"junk\0\0\0\0" * (MAX_BESIDE_SAMPLES // 8) + WAV[36:], id="many chunks before"),
        pytest.param(WAV + b"junk\0\0\0\0" * (1 + MAX_BESIDE_SAMPLES // 8), id="many chunks behind"),
        pytest.param(WAV[:36], id="no samples"),
        *(pytest.param(WAV[:size], id=f"{size} bytes") for size in (0, 12, 20, 22)),
    ],
)
def test_what_needs_a_codec_or_is_in_doubt_is_not_plain(data: bytes) -> None:
    assert not is_plain_pcm(data)


def test_a_plain_recording_may_be_cut_or_of_unknown_length() -> None:
    assert is_plain_pcm(WAV[:-5_000])
    assert is_plain_pcm(WAV[:40] + b"\xff\xff\xff\xff" + WAV[44:])


def test_a_second_description_is_never_believed() -> None:
    coded = sound_file("WAV", "IMA_ADPCM")
    second = coded[12 : 20 + int.from_bytes(coded[16:20], "little")]
    behind, between = WAV + second, WAV[:36] + second + WAV[36:]
    assert is_plain_pcm(behind)
    assert soundfile.info(io.BytesIO(behind)).subtype == "PCM_16"
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(io.BytesIO(between))
