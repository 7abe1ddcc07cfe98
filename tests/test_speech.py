from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from conftest import MandarinClip
from hypothesis import given
from hypothesis import strategies as st

from model.assets import AssetStore
from model.errors import AssetInvalid
from model.script import bare, simplified
from model.speech import SpeechConfig, SpeechRecognizer, Transcript, _batches_of_one_bucket
from model.whisper_writer import Written

Array = npt.NDArray[np.float32]

CONFIG = SpeechConfig()
SECOND = 16_000


@pytest.fixture(scope="module")
def pieces(recordings: Mapping[str, Array]) -> list[Array]:
    """Three pieces of speech of different lengths and of one bucket."""
    speech = recordings["not_in_service"]
    return [speech[: int(1.9 * SECOND)], speech[2 * SECOND : int(3.3 * SECOND)], speech[SECOND : int(2.7 * SECOND)]]


@pytest.fixture(scope="module")
def together(speech_recognizer: SpeechRecognizer, pieces: list[Array]) -> list[Transcript]:
    return speech_recognizer.transcribe_batch(pieces)


@pytest.fixture(scope="module")
def of_noise(speech_recognizer: SpeechRecognizer) -> Transcript:
    noise = np.random.default_rng(0).normal(0, 0.05, 2 * SECOND).astype(np.float32)
    return speech_recognizer.transcribe_batch([noise])[0]


@pytest.fixture(scope="module")
def suspicious(assets: AssetStore) -> SpeechRecognizer:
    """Takes every text for a decoder that ran away."""
    return SpeechRecognizer(assets.path(CONFIG.asset), config=replace(CONFIG, max_compression_ratio=0.0), threads=2)


@given(st.floats(min_value=0.0, max_value=60.0), st.floats(min_value=0.0, max_value=60.0))
def test_padding_never_shrinks_with_duration_and_stays_between_speech_and_whispers_window(a: float, b: float) -> None:
    shorter, longer = sorted((a, b))
    buckets = CONFIG.bucket(shorter), CONFIG.bucket(longer)
    assert buckets[0] <= buckets[1]
    assert buckets[0] >= shorter - 1e-6
    padded = [CONFIG.padded_seconds(bucket) for bucket in buckets]
    assert min(buckets[0], 30.0) <= padded[0] <= padded[1] <= 30.0


@pytest.mark.parametrize(
    ("seconds", "bucket", "padded"),
    [(0.1, 2.0, 8.0), (2.0, 2.0, 8.0), (2.001, 4.0, 10.0), (9.9, 12.0, 18.0), (20.0, 22.0, 28.0), (29.0, 29.0, 30.0)],
)
def test_an_utterance_is_padded_by_its_own_duration_only(seconds: float, bucket: float, padded: float) -> None:
    assert CONFIG.bucket(seconds) == bucket
    assert CONFIG.padded_seconds(bucket) == pytest.approx(padded)


def test_more_speech_may_have_more_tokens() -> None:
    assert CONFIG.max_tokens(2.0) == 34
    assert CONFIG.max_tokens(20.0) == 214


def test_the_bucket_of_an_utterance_follows_from_its_samples(speech_recognizer: SpeechRecognizer) -> None:
    assert speech_recognizer.bucket_of(np.zeros(3 * SECOND, dtype=np.float32)) == 4.0


def test_an_utterance_alone_is_exactly_what_it_is_in_a_batch(
    speech_recognizer: SpeechRecognizer, pieces: list[Array], together: list[Transcript]
) -> None:
    for samples, in_batch in zip(pieces, together, strict=True):
        (alone,) = speech_recognizer.transcribe_batch([samples])
        assert np.abs(alone.states - in_batch.states).max() == 0.0
        assert alone.text == in_batch.text
        assert alone.status == in_batch.status


def test_encoding_alone_gives_the_states_of_transcribing(
    speech_recognizer: SpeechRecognizer, pieces: list[Array], together: list[Transcript]
) -> None:
    for states, transcript in zip(speech_recognizer.encode(pieces, max_batch_size=2), together, strict=True):
        np.testing.assert_array_equal(states, transcript.states)


def test_states_cover_the_real_frames_and_not_the_tail(pieces: list[Array], together: list[Transcript]) -> None:
    for samples, transcript in zip(pieces, together, strict=True):
        num_states = -(-len(samples) // 320)
        assert transcript.states.shape == (-(-num_states // CONFIG.states_per_step), 512)
        assert transcript.states.dtype == np.float32


def test_a_batch_that_mixes_buckets_is_refused(speech_recognizer: SpeechRecognizer) -> None:
    mixed = [np.zeros(SECOND, dtype=np.float32), np.zeros(3 * SECOND, dtype=np.float32)]
    with pytest.raises(ValueError, match=r"one bucket.*\[2\.0, 4\.0\]"):
        speech_recognizer.transcribe_batch(mixed)


def test_utterances_of_any_length_are_answered_in_the_order_given(
    speech_recognizer: SpeechRecognizer, recordings: Mapping[str, Array], pieces: list[Array]
) -> None:
    longer = recordings["not_in_service"][: 3 * SECOND]
    seen: list[int] = []
    encoded = speech_recognizer.encode([longer, pieces[0], pieces[1]])
    transcripts = speech_recognizer.transcribe([longer, pieces[0]], on_progress=seen.append)
    assert seen == [1, 1]
    assert [len(states) for states in encoded] == [38, 24, 17]
    for transcript, states in zip(transcripts, encoded[:2], strict=True):
        np.testing.assert_array_equal(transcript.states, states)


def test_no_utterances_give_no_transcripts(speech_recognizer: SpeechRecognizer) -> None:
    assert speech_recognizer.transcribe([]) == []
    assert speech_recognizer.encode([]) == []


def test_a_decoder_writes_no_more_tokens_than_the_bucket_allows(
    together: list[Transcript], of_noise: Transcript
) -> None:
    for transcript in [*together, of_noise]:
        assert 0 < transcript.num_tokens <= CONFIG.max_tokens(2.0)


def test_a_decoder_that_has_more_to_say_is_cut_off(assets: AssetStore, pieces: list[Array]) -> None:
    config = replace(CONFIG, max_tokens_base=1, max_tokens_per_second=1.0)
    terse = SpeechRecognizer(assets.path(CONFIG.asset), config=config, threads=2)
    (transcript,) = terse.transcribe_batch(pieces[:1])
    assert transcript.num_tokens == 3


def test_noise_is_not_trusted(of_noise: Transcript) -> None:
    assert of_noise.status != "ok"


def test_digital_silence_is_no_speech(speech_recognizer: SpeechRecognizer) -> None:
    (transcript,) = speech_recognizer.transcribe_batch([np.zeros(SECOND, dtype=np.float32)])
    assert transcript.status == "no_speech"
    assert np.isfinite(transcript.states).all()


def test_a_fallback_keeps_the_likelier_text_and_leaves_the_states_of_the_first_pass(
    suspicious: SpeechRecognizer, pieces: list[Array], together: list[Transcript]
) -> None:
    (transcript,) = suspicious.transcribe_batch(pieces[:1])
    assert transcript.fell_back
    assert transcript.status != "ok"
    assert transcript.avg_logprob >= together[0].avg_logprob
    np.testing.assert_array_equal(transcript.states, together[0].states)


def test_mandarin_is_heard_right(
    speech_recognizer: SpeechRecognizer, mandarin_clips: Mapping[str, MandarinClip]
) -> None:
    clip = mandarin_clips["liuchanhg-angry-201"]
    (transcript,) = speech_recognizer.transcribe([clip.samples])
    assert bare(transcript.text) == bare(clip.text)
    assert transcript.status == "ok"
    assert not transcript.fell_back
    assert -1.0 < transcript.avg_logprob < 0.0
    assert transcript.no_speech_probability < 0.1


def test_another_language_that_is_heard_sooner_is_written_as_such(
    speech_recognizer: SpeechRecognizer, assets: AssetStore, recordings: Mapping[str, Array]
) -> None:
    prompt = recordings["leave_a_message"]
    (heard,) = speech_recognizer.transcribe([prompt])
    assert heard.language == "en"
    assert "message" in heard.text.lower()
    only_mandarin = SpeechRecognizer(assets.path(CONFIG.asset), config=replace(CONFIG, other_languages=()))
    (forced,) = only_mandarin.transcribe([prompt])
    assert forced.language == "zh"
    np.testing.assert_array_equal(forced.states, heard.states)


def test_a_language_is_judged_for_each_utterance_of_a_batch(
    speech_recognizer: SpeechRecognizer, recordings: Mapping[str, Array], mandarin_clips: Mapping[str, MandarinClip]
) -> None:
    mandarin = mandarin_clips["liuchanhg-angry-201"]
    english = recordings["leave_a_message"][: len(mandarin.samples)]
    mixed = speech_recognizer.transcribe_batch([english, mandarin.samples])
    assert [transcript.language for transcript in mixed] == ["en", "zh"]
    assert bare(mixed[1].text) == bare(mandarin.text)


@given(
    st.lists(st.sampled_from([2.0, 4.0, 8.0]), max_size=40),
    st.integers(min_value=1, max_value=8),
    st.integers(min_value=1, max_value=4),
)
def test_batches_hold_every_utterance_once_and_share_the_work_evenly(
    buckets: list[float], max_batch_size: int, workers: int
) -> None:
    batches = list(_batches_of_one_bucket(buckets, max_batch_size, workers))
    assert sorted(index for batch in batches for index in batch) == list(range(len(buckets)))
    sizes: dict[float, list[int]] = {}
    for batch in batches:
        (bucket,) = {buckets[index] for index in batch}
        sizes.setdefault(bucket, []).append(len(batch))
    assert list(sizes) == sorted(sizes, reverse=True)
    for of_bucket in sizes.values():
        assert max(of_bucket) <= max_batch_size
        assert max(of_bucket) - min(of_bucket) <= 1
        assert len(of_bucket) >= min(workers, sum(of_bucket))


def test_transcripts_are_in_simplified_characters(
    speech_recognizer: SpeechRecognizer, together: list[Transcript]
) -> None:
    heard = Written(text="請留言給臺灣", language="zh", avg_logprob=-0.1, no_speech_probability=0.0, num_tokens=6)
    assert speech_recognizer._transcript(heard, together[0].states, fell_back=False).text == "请留言给台湾"
    for transcript in together:
        assert transcript.text == simplified(transcript.text)


def test_a_language_that_whisper_does_not_know_is_refused(assets: AssetStore) -> None:
    with pytest.raises(AssetInvalid, match=r"no token <\|xx\|>"):
        SpeechRecognizer(assets.path(CONFIG.asset), config=replace(CONFIG, language="xx"))
