import io
import struct
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from model.audio import AudioLimits, Recording, decode_audio
from model.containers import examine
from model.decoders import BLOCK_FRAMES
from model.errors import (
    AudioError,
    AudioTooLong,
    CorruptAudio,
    TooManyChannels,
    UnsupportedAudio,
    UnsupportedSampleRate,
    UploadTooLarge,
)

Samples = npt.NDArray[np.float32]

RECORDINGS = Path(__file__).parent / "recordings"
REAL_RECORDINGS = ["leave_a_message.wav", "first_in_line.wav", "not_in_service.wav", "first_in_line_mulaw.wav"]
SPEECH: Samples = soundfile.read(RECORDINGS / "first_in_line.wav", dtype="float32")[0]
OTHER_SPEECH: Samples = soundfile.read(RECORDINGS / "not_in_service.wav", dtype="float32")[0]
SPEECH_RATE_HZ = 8_000
SPEECH_AT_16_KHZ = soxr.resample(SPEECH, SPEECH_RATE_HZ, 16_000)


def written(
    samples: npt.ArrayLike, *, container: str = "WAV", subtype: str | None = None, rate_hz: int = SPEECH_RATE_HZ
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.asarray(samples), rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def speech_at(rate_hz: int) -> Samples:
    return np.asarray(soxr.resample(SPEECH, SPEECH_RATE_HZ, rate_hz), np.float32)


def encoded(
    samples: Samples, *, container: str, codec: str, rate_hz: int, options: dict[str, str] | None = None
) -> bytes:
    """samples: (channels, samples)"""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[len(samples)]
    with av.open(file, "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        for start in range(0, samples.shape[1], 1024):
            chunk = samples[:, start : start + 1024].T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    return data[:offset] + struct.pack(layout, *values) + data[offset + struct.calcsize(layout) :]


def assert_is_the_speech(recording: Recording, *, channel: int = 0, min_correlation: float = 0.99) -> None:
    samples = recording.samples[channel]
    assert recording.samples.dtype == np.float32
    assert np.abs(recording.samples).max() <= 1.0
    assert len(samples) == pytest.approx(len(SPEECH_AT_16_KHZ), abs=1600)
    num_common = min(len(samples), len(SPEECH_AT_16_KHZ))
    # Without any shift: a decoder's delay that nobody removed would show.
    assert np.corrcoef(samples[:num_common], SPEECH_AT_16_KHZ[:num_common])[0, 1] > min_correlation


SHORT = {
    "wav": written(SPEECH[:4_000]),
    "float": written(SPEECH[:4_000], subtype="FLOAT"),
    "mulaw": written(SPEECH[:4_000], subtype="ULAW"),
    "adpcm": written(SPEECH[:4_000], subtype="IMA_ADPCM"),
    "aiff": written(SPEECH[:4_000], container="AIFF"),
    "flac": written(SPEECH[:4_000], container="FLAC"),
    "vorbis": written(SPEECH[:4_000], container="OGG", subtype="VORBIS"),
    "opus": written(SPEECH[:4_000], container="OGG", subtype="OPUS"),
    "mp3": written(SPEECH[:4_000], container="MP3"),
    "aac": encoded(SPEECH_AT_16_KHZ[np.newaxis, :8_000], container="adts", codec="aac", rate_hz=16_000),
    "mp4": encoded(SPEECH_AT_16_KHZ[np.newaxis, :8_000], container="mp4", codec="aac", rate_hz=16_000),
    "webm": encoded(speech_at(48_000)[np.newaxis, :24_000], container="webm", codec="libopus", rate_hz=48_000),
}


WAV_SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]


@pytest.mark.parametrize("subtype", [*WAV_SUBTYPES, "GSM610", "MS_ADPCM"])
def test_every_wav_encoding_is_read(subtype: str) -> None:
    recording = decode_audio(written(SPEECH, subtype=subtype))
    assert_is_the_speech(recording, min_correlation=0.95 if subtype == "GSM610" else 0.99)
    assert recording.source_sample_rate_hz == SPEECH_RATE_HZ
    assert recording.source_channels == 1
    assert recording.warnings == ()
    assert not recording.clipped


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 12_345, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_every_sample_rate_becomes_16_khz(rate_hz: int) -> None:
    recording = decode_audio(written(speech_at(rate_hz), rate_hz=rate_hz, subtype="FLOAT"))
    assert recording.source_sample_rate_hz == rate_hz
    assert recording.duration_ms == pytest.approx(len(SPEECH) * 1000 / SPEECH_RATE_HZ, abs=1)
    assert_is_the_speech(recording, min_correlation=0.999)


@pytest.mark.parametrize("container", ["FLAC", "AIFF", "AU", "RF64", "WAVEX"])
def test_other_lossless_containers_are_read(container: str) -> None:
    assert_is_the_speech(decode_audio(written(SPEECH, container=container, subtype="PCM_16")), min_correlation=0.999)


@pytest.mark.parametrize(
    ("container", "subtype", "rate_hz"),
    [
        ("OGG", "VORBIS", 8_000),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 8_000),
        ("OGG", "OPUS", 48_000),
        ("MP3", "MPEG_LAYER_III", 8_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_formats_are_read(container: str, subtype: str, rate_hz: int, channels: int) -> None:
    sound = np.stack([speech_at(rate_hz)] * channels, axis=1)
    recording = decode_audio(written(sound, container=container, subtype=subtype, rate_hz=rate_hz))
    assert_is_the_speech(recording, min_correlation=0.95)
    assert recording.source_channels == channels
    assert recording.warnings == (("identical_channels",) if channels == 2 else ())


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz", "delay_frames"),
    [
        ("mp4", "aac", 44_100, 0),
        ("ipod", "aac", 16_000, 0),
        ("ipod", "alac", 16_000, 0),
        ("mov", "pcm_s16le", 16_000, 0),
        ("webm", "libopus", 48_000, 0),
        ("matroska", "flac", 8_000, 0),
        ("ogg", "flac", 16_000, 0),
        # Nobody says by how much these encoders were late.
        ("adts", "aac", 22_050, 1_024),
        ("wav", "libmp3lame", 16_000, 1_105),
    ],
)
def test_what_only_ffmpeg_reads_is_read(container: str, codec: str, rate_hz: int, delay_frames: int) -> None:
    sound = encoded(speech_at(rate_hz)[np.newaxis], container=container, codec=codec, rate_hz=rate_hz)
    recording = decode_audio(sound)
    delay = round(delay_frames * 16_000 / rate_hz)
    assert_is_the_speech(replace(recording, samples=recording.samples[:, delay:]), min_correlation=0.95)
    assert recording.source_sample_rate_hz == rate_hz
    assert recording.warnings == ()


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz"),
    [("adts", "aac", 16_000), ("matroska", "flac", 8_000), ("webm", "libopus", 48_000)],
)
def test_eight_channels_are_read(container: str, codec: str, rate_hz: int) -> None:
    sound = np.stack([speech_at(rate_hz) * np.float32((channel + 1) / 8) for channel in range(8)])
    recording = decode_audio(encoded(sound, container=container, codec=codec, rate_hz=rate_hz))
    assert recording.samples.shape[0] == recording.source_channels == 8


def test_blocks_leave_no_seam_in_an_mp3() -> None:
    sound = np.tile(speech_at(44_100), 3)
    mp3 = written(sound, container="MP3", subtype="MPEG_LAYER_III", rate_hz=44_100)
    whole, rate_hz = soundfile.read(io.BytesIO(mp3), dtype="float32")
    expected = soxr.resample(whole, rate_hz, 16_000)
    np.testing.assert_allclose(decode_audio(mp3).samples[0], np.clip(expected, -1, 1), atol=1e-4)


def test_an_id3_tag_before_the_sound_is_passed_over() -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    assert_is_the_speech(decode_audio(tag + tag + written(SPEECH, container="FLAC")))


def test_the_sound_of_a_video_is_read() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        video = output.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        audio = output.add_stream("aac", rate=16_000, layout="mono")
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        output.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
        frame = av.AudioFrame.from_ndarray(SPEECH_AT_16_KHZ[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        output.mux([*audio.encode(frame), *audio.encode(None), *video.encode(None)])
    assert_is_the_speech(decode_audio(file.getvalue()), min_correlation=0.95)


@pytest.mark.parametrize("name", REAL_RECORDINGS)
def test_real_telephone_speech_is_read_from_a_path(name: str) -> None:
    recording = decode_audio(RECORDINGS / name)
    assert recording.source_sample_rate_hz == 8_000
    assert recording.samples.shape[0] == recording.source_channels == 1
    assert recording.duration_ms == round(soundfile.info(RECORDINGS / name).duration * 1000)
    assert not recording.clipped
    assert recording.warnings == ()


def test_mu_law_of_real_speech_sounds_like_its_original() -> None:
    assert_is_the_speech(decode_audio(RECORDINGS / "first_in_line_mulaw.wav"))


def test_a_missing_path_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode_audio(tmp_path / "no.wav")


def test_two_speakers_keep_their_channels() -> None:
    num_common = min(len(SPEECH), len(OTHER_SPEECH))
    recording = decode_audio(written(np.stack([OTHER_SPEECH[:num_common], SPEECH[:num_common]], axis=1)))
    assert recording.samples.shape[0] == recording.source_channels == 2
    assert recording.warnings == ()
    expected = SPEECH_AT_16_KHZ[: 2 * num_common]
    assert np.corrcoef(recording.samples[1], expected)[0, 1] > 0.99


def test_one_sound_on_two_channels_is_kept_once() -> None:
    recording = decode_audio(written(np.stack([SPEECH, SPEECH], axis=1)))
    assert recording.samples.shape[0] == 1
    assert recording.source_channels == 2
    assert recording.warnings == ("identical_channels",)


def test_a_few_words_on_one_channel_only_keep_both() -> None:
    left = np.tile(SPEECH, 20)
    right = left.copy()
    right[-8_000:] += 0.2 * OTHER_SPEECH[8_000:16_000]
    recording = decode_audio(written(np.stack([left, right], axis=1)))
    assert recording.samples.shape[0] == 2
    assert recording.warnings == ()


def test_a_silent_channel_is_not_the_other_one() -> None:
    assert decode_audio(written(np.stack([SPEECH, 0 * SPEECH], axis=1))).samples.shape[0] == 2


def test_channels_far_beyond_full_scale_are_told_apart_by_what_is_kept_of_them() -> None:
    stereo = np.stack([np.sin(np.arange(8_000)), np.cos(np.arange(8_000))], axis=1).astype(np.float32)
    recording = decode_audio(written(1e30 * stereo, subtype="FLOAT"))
    assert recording.samples.shape[0] == 2
    assert recording.clipped


def test_more_than_two_channels_are_all_kept() -> None:
    recording = decode_audio(written(np.stack([SPEECH] * 4, axis=1)))
    assert recording.samples.shape[0] == recording.source_channels == 4
    assert recording.warnings == ()


@pytest.mark.parametrize("subtype", WAV_SUBTYPES)
def test_overdriven_speech_is_clipped_in_every_encoding(subtype: str) -> None:
    assert decode_audio(written(np.clip(8 * SPEECH, -1, 1), subtype=subtype)).clipped


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_peak_that_touches_full_scale_is_not_clipped(subtype: str) -> None:
    touching = SPEECH.copy()
    touching[[100, 5_000]] = 1.0
    assert not decode_audio(written(touching, subtype=subtype)).clipped


def test_three_samples_in_a_row_at_full_scale_are_clipped_even_across_blocks() -> None:
    flat = SPEECH.copy()
    flat[BLOCK_FRAMES - 2 : BLOCK_FRAMES + 1] = -1.0
    assert decode_audio(written(flat, subtype="PCM_16")).clipped


def test_one_clipped_channel_is_enough() -> None:
    assert decode_audio(written(np.stack([SPEECH, np.clip(8 * SPEECH, -1, 1)], axis=1))).clipped


def test_floats_beyond_one_are_limited_and_said_to_be_clipped() -> None:
    loud = SPEECH.copy()
    loud[[100, 9_000]] = 1.5, -40.0
    recording = decode_audio(written(loud, subtype="FLOAT"))
    assert recording.clipped
    assert np.abs(recording.samples).max() <= 1.0


def test_more_bytes_than_allowed_are_refused(tmp_path: Path) -> None:
    sound = written(SPEECH)
    path = tmp_path / "speech.wav"
    path.write_bytes(sound)
    for source in (sound, path):
        with pytest.raises(UploadTooLarge) as caught:
            decode_audio(source, limits=AudioLimits(max_bytes=1_000))
        assert caught.value.limit == 1_000


def test_as_many_bytes_as_allowed_are_read() -> None:
    sound = written(SPEECH)
    assert_is_the_speech(decode_audio(sound, limits=AudioLimits(max_bytes=len(sound))))


def test_a_wav_that_claims_one_hertz_is_refused() -> None:
    with pytest.raises(UnsupportedSampleRate) as caught:
        decode_audio(patched(written(SPEECH[:1_000]), 24, "<I", 1))
    assert caught.value.value == 1
    assert caught.value.limit == 4_000


def test_a_sample_rate_above_the_limit_is_refused() -> None:
    with pytest.raises(UnsupportedSampleRate) as caught:
        decode_audio(patched(written(SPEECH), 24, "<I", 384_000))
    assert (caught.value.value, caught.value.limit) == (384_000, 192_000)


@pytest.mark.parametrize("rate_hz", [0, 0xFFFF_FFFF])
def test_an_impossible_sample_rate_is_refused(rate_hz: int) -> None:
    with pytest.raises(AudioError):
        decode_audio(patched(written(SPEECH), 24, "<I", rate_hz))


def test_255_channels_are_refused() -> None:
    with pytest.raises(TooManyChannels) as caught:
        decode_audio(patched(written(SPEECH), 22, "<H", 255))
    assert (caught.value.value, caught.value.limit) == (255, 8)


@pytest.mark.parametrize("channels", [0, 0xFFFF])
def test_an_impossible_number_of_channels_is_refused(channels: int) -> None:
    with pytest.raises(AudioError):
        decode_audio(patched(written(SPEECH), 22, "<H", channels))


def test_limits_hold_for_what_ffmpeg_reads() -> None:
    sound = encoded(np.stack([speech_at(48_000)] * 2), container="webm", codec="libopus", rate_hz=48_000)
    with pytest.raises(UnsupportedSampleRate):
        decode_audio(sound, limits=AudioLimits(max_sample_rate_hz=16_000))
    with pytest.raises(TooManyChannels):
        decode_audio(sound, limits=AudioLimits(max_channels=1))
    with pytest.raises(AudioTooLong) as caught:
        decode_audio(sound, limits=AudioLimits(max_seconds=2.0))
    assert isinstance(caught.value.value, float)
    assert 2.0 < caught.value.value < 2.0 + 2 * BLOCK_FRAMES / 48_000


@pytest.mark.parametrize(("seconds", "fits"), [(5.3, False), (5.4, True)])
def test_the_limit_of_seconds_is_that_of_the_sound(seconds: float, fits: bool) -> None:
    limits = AudioLimits(max_seconds=seconds)
    if fits:
        assert_is_the_speech(decode_audio(written(SPEECH), limits=limits))
    else:
        with pytest.raises(AudioTooLong):
            decode_audio(written(SPEECH), limits=limits)


def test_hours_of_silence_in_a_small_flac_cost_little() -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SPEECH_RATE_HZ, 1, format="FLAC") as flac:
        for _ in range(60):
            flac.write(np.zeros(120 * SPEECH_RATE_HZ, np.int16))
    assert len(file.getvalue()) < 200_000
    tracemalloc.start()
    with pytest.raises(AudioTooLong) as caught:
        decode_audio(file.getvalue(), limits=AudioLimits(max_seconds=30.0))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(caught.value.value, float)
    assert 30.0 < caught.value.value <= 30.0 + BLOCK_FRAMES / SPEECH_RATE_HZ
    assert peak_bytes < 8 * 2**20


def test_a_data_size_nobody_filled_in_is_no_claim() -> None:
    recording = decode_audio(patched(written(SPEECH), 40, "<I", 0xFFFF_FFFF))
    assert_is_the_speech(recording)
    assert recording.warnings == ()


def test_a_flac_of_undeclared_length_is_complete() -> None:
    flac = bytearray(written(SPEECH, container="FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    recording = decode_audio(bytes(flac))
    assert_is_the_speech(recording)
    assert recording.warnings == ()


def test_a_flac_that_declares_more_than_it_holds_keeps_what_it_holds() -> None:
    flac = bytearray(written(SPEECH, container="FLAC"))
    flac[22:26] = b"\xff\xff\xff\xff"
    recording = decode_audio(bytes(flac))
    assert len(recording.samples[0]) > 0.9 * len(SPEECH_AT_16_KHZ)
    assert recording.warnings == ("truncated",)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_not_numbers_are_refused(value: float, subtype: str) -> None:
    sick = SPEECH.copy()
    sick[-1] = value
    with pytest.raises(CorruptAudio):
        decode_audio(written(sick, subtype=subtype))


def test_a_wav_without_samples_is_refused() -> None:
    with pytest.raises(CorruptAudio):
        decode_audio(written(SPEECH[:0]))


def test_a_single_sample_never_crashes() -> None:
    assert decode_audio(written(SPEECH[:1])).samples.shape[1] > 0
    with pytest.raises(CorruptAudio):
        decode_audio(written(SPEECH[:1], rate_hz=48_000))


def test_an_empty_upload_is_refused() -> None:
    with pytest.raises(CorruptAudio):
        decode_audio(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"RIFF",
        b"<!doctype html><title>not found</title>",
        b'{"file": "speech.wav"}',
        "请不吝点赞".encode(),
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"#!AMR\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        bytes(10_000),
        SPEECH.tobytes(),
    ],
    ids=["byte", "riff", "html", "json", "text", "playlist", "concat", "amr", "zip", "zeros", "headerless"],
)
def test_what_is_no_recording_is_not_guessed_at(data: bytes) -> None:
    with pytest.raises(UnsupportedAudio):
        decode_audio(data)


def test_a_codec_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(UnsupportedAudio) as caught:
        decode_audio(encoded(speech_at(48_000)[np.newaxis], container="matroska", codec="ac3", rate_hz=48_000))
    assert caught.value.value == "ac3"


@pytest.mark.parametrize("magic", [b"fLaC", b"OggS", b".snd", b"FORM\0\0\0\0AIFF", b"\xff\xfb\x90", b"\xff\xf1\x50"])
def test_a_known_beginning_with_nothing_behind_it_is_corrupt(magic: bytes) -> None:
    with pytest.raises(CorruptAudio):
        decode_audio(magic + bytes(500))


def test_a_forged_mp4_index_is_refused_before_ffmpeg_believes_it() -> None:
    mp4 = encoded(SPEECH_AT_16_KHZ[np.newaxis], container="mp4", codec="aac", rate_hz=16_000)
    with pytest.raises(UnsupportedAudio) as caught:
        decode_audio(patched(mp4, mp4.index(b"stsz") + 8, ">II", 1, 30_000_000))
    assert caught.value.value == 30_000_000


def test_a_forged_mp4_fragment_is_refused_before_ffmpeg_believes_it() -> None:
    mp4 = encoded(
        SPEECH_AT_16_KHZ[np.newaxis],
        container="mp4",
        codec="aac",
        rate_hz=16_000,
        options={"movflags": "frag_keyframe+delay_moov+default_base_moof"},
    )
    assert_is_the_speech(decode_audio(mp4), min_correlation=0.95)
    with pytest.raises(UnsupportedAudio):
        decode_audio(patched(mp4, mp4.index(b"trun") + 4, ">II", 1, 30_000_000))


def test_forged_ogg_pages_never_reach_a_decoder() -> None:
    ogg = SHORT["opus"]
    examined = examine(ogg + b"OggS\0\0" * 10_000)
    assert examined.data == ogg
    assert examined.is_incomplete
    assert not examine(ogg).is_incomplete


def test_packets_without_sound_are_not_decoded_for_ever() -> None:
    with pytest.raises(AudioTooLong):
        decode_audio(SHORT["aac"] * 30, limits=AudioLimits(max_seconds=10.0))
    recording = decode_audio(SHORT["aac"] + b"\xff\xf1\x50\x80\x01\x1f\xfc" * 100_000)
    assert recording.warnings == ("truncated",)


def test_two_oggs_in_a_row_are_said_to_be_cut() -> None:
    assert decode_audio(SHORT["vorbis"] * 2).warnings == ("truncated",)


def test_an_odd_byte_at_the_end_is_left_out() -> None:
    recording = decode_audio(written(SPEECH)[:-1])
    assert_is_the_speech(recording)
    assert recording.warnings == ("truncated",)


@pytest.mark.parametrize("name", SHORT)
def test_a_recording_cut_anywhere_is_kept_or_refused(name: str) -> None:
    sound = SHORT[name]
    for length in {*range(0, 64, 3), *range(64, len(sound), 1 + len(sound) // 60)}:
        try:
            recording = decode_audio(sound[:length])
        except AudioError:
            continue
        assert recording.samples.shape[1] > 0


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "ULAW"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("OGG", "VORBIS")],
)
def test_half_a_recording_is_kept_with_a_warning(container: str, subtype: str) -> None:
    sound = written(np.tile(SPEECH, 4), container=container, subtype=subtype)
    recording = decode_audio(sound[: len(sound) // 2])
    assert recording.warnings == ("truncated",)
    assert recording.samples.shape[1] > len(SPEECH_AT_16_KHZ)
    begun = recording.samples[0, : len(SPEECH_AT_16_KHZ)]
    assert np.corrcoef(begun, SPEECH_AT_16_KHZ)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "aac", {"movflags": "frag_every_frame+empty_moov+default_base_moof"}),
        ("webm", "libopus", {}),
    ],
)
def test_half_of_what_ffmpeg_reads_is_kept_with_a_warning(container: str, codec: str, options: dict[str, str]) -> None:
    sound = encoded(speech_at(48_000)[np.newaxis], container=container, codec=codec, rate_hz=48_000, options=options)
    recording = decode_audio(sound[: len(sound) // 2])
    assert 1_500 < recording.duration_ms < 4_000
    assert recording.warnings == ("truncated",)


def test_damage_in_the_middle_of_an_mp3_costs_only_the_middle(capfd: pytest.CaptureFixture[str]) -> None:
    mp3 = bytearray(written(SPEECH, container="MP3", rate_hz=SPEECH_RATE_HZ))
    middle = len(mp3) // 2
    mp3[middle : middle + 300] = bytes(300)
    recording = decode_audio(bytes(mp3))
    assert recording.duration_ms > 0.9 * 1000 * len(SPEECH) / SPEECH_RATE_HZ
    assert capfd.readouterr().err == ""


@st.composite
def damaged_recordings(draw: st.DrawFn) -> bytes:
    sound = bytearray(SHORT[draw(st.sampled_from(sorted(SHORT)))])
    # Headers are where a decoder can be led astray, so half of the damage goes there.
    positions = st.one_of(st.integers(0, 300), st.integers(0, len(sound) - 1))
    values = st.one_of(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"]), st.binary(max_size=8))
    for position, value in draw(st.lists(st.tuples(positions, values), min_size=1, max_size=12)):
        sound[position : position + draw(st.sampled_from([0, len(value), 16]))] = value
    return bytes(sound)


@settings(max_examples=300, deadline=None)
@given(damaged_recordings())
def test_only_audio_errors_escape_from_damaged_recordings(data: bytes) -> None:
    try:
        recording = decode_audio(data, limits=AudioLimits(max_seconds=10.0))
    except AudioError:
        return
    assert np.isfinite(recording.samples).all()


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"OggS", b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftyp"]),
)
def test_only_audio_errors_escape_from_random_bytes(data: bytes, magic: bytes) -> None:
    with pytest.raises(AudioError):
        decode_audio(magic + data)
