import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from conftest import ROOT, MandarinClip
from drawn_bundle import drawn_bundle
from drawn_features import small_network

from model.assets import AssetStore
from model.audio import AudioLimits, Recording
from model.bundle import FACTS_FILE, Bundle, write_facts
from model.errors import AssetMissing, AudioTooLong, BundleInvalid, CorruptAudio, GoldenMismatch
from model.features import FeatureExtractor
from model.labels import EMOTIONS
from model.recognizer import EmotionRecognizer, JudgedUtterance, Recognition, heard_in
from model.segment import Utterance
from model.speaker import Conversation
from model.speech import SpeechRecognizer, Transcript, TranscriptStatus

Samples = npt.NDArray[np.float32]


def wav(*channels: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.stack(channels, axis=1), 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * 16_000), dtype=np.float32)


def judged(
    probabilities: list[float] | None,
    *,
    seconds: float,
    text: str = "",
    status: TranscriptStatus = "ok",
    language: str = "zh",
) -> JudgedUtterance:
    return JudgedUtterance(
        utterance=Utterance(samples=silence(seconds), channel=0, start_ms=0, end_ms=round(seconds * 1000)),
        transcript=Transcript(
            text=text,
            language=language,
            status=status,
            avg_logprob=-0.5,
            no_speech_probability=0.25,
            states=np.zeros((1, 512), dtype=np.float32),
            num_tokens=1,
            fell_back=False,
        ),
        probabilities=None if probabilities is None else np.array(probabilities, dtype=np.float32),
    )


def recording(*, clipped: bool = False) -> Recording:
    return Recording(samples=silence(1)[None], source_sample_rate_hz=16_000, source_channels=1, clipped=clipped)


@pytest.fixture(scope="module")
def bursts(recordings: Mapping[str, Samples]) -> tuple[Samples, Samples]:
    """Speech without a pause, of two lengths."""
    return recordings["not_in_service"][: int(1.6 * 16_000)], recordings["not_in_service"][16_000 : int(2.2 * 16_000)]


@pytest.fixture(scope="module")
def stereo(recognizer: EmotionRecognizer, bursts: tuple[Samples, Samples]) -> Recognition:
    """An agent speaks, then a customer."""
    first, second = bursts
    agent = np.concatenate([first, silence(4)])
    customer = np.concatenate([silence(3), second, silence(4)])[: len(agent)]
    return recognizer.recognize(wav(agent, customer))


def spoilt(tmp_path: Path, **changes: object) -> Path:
    folder: Path = shutil.copytree(ROOT / "artifacts" / "vcemo-whisper-zh", tmp_path / "bundle")
    document = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    write_facts(folder, document | changes)
    return folder


def test_every_utterance_of_a_recording_is_judged(stereo: Recognition) -> None:
    assert [one.utterance.channel for one in stereo.segments] == [0, 1]
    assert all(one.probabilities is not None for one in stereo.segments)
    assert stereo.probabilities is not None
    assert set(stereo.probabilities) == set(EMOTIONS)
    assert sum(stereo.probabilities.values()) == pytest.approx(1.0)
    assert stereo.emotion is not None
    assert stereo.confidence == max(stereo.probabilities.values()) == stereo.probabilities[stereo.emotion]


def test_an_answer_tells_how_long_each_stage_took(stereo: Recognition) -> None:
    assert set(stereo.timings_ms) == {"decode", "vad", "asr", "features", "fusion", "queue", "total"}
    assert stereo.timings_ms["total"] >= sum(stereo.timings_ms.values()) - stereo.timings_ms["total"] - 1


def test_speech_is_counted_without_its_pauses(stereo: Recognition) -> None:
    assert 2000 < stereo.speech_ms < stereo.recording.duration_ms
    assert stereo.speech_ms == sum(one.utterance.end_ms - one.utterance.start_ms for one in stereo.segments)


def test_the_stages_one_by_one_give_what_the_whole_gives(recognizer: EmotionRecognizer, stereo: Recognition) -> None:
    utterances = recognizer.utterances(stereo.recording)
    for utterance, whole in zip(utterances, stereo.segments, strict=True):
        (transcript,) = recognizer.transcribe_batch([utterance.samples])
        assert transcript.text == whole.transcript.text
        (alone,) = recognizer.classify([recognizer.features(utterance.samples, transcript)])
        assert whole.probabilities is not None
        np.testing.assert_allclose(alone, whole.probabilities, atol=1e-5)


def test_silence_gets_no_label(recognizer: EmotionRecognizer) -> None:
    answer = recognizer.recognize(wav(silence(2)))
    assert answer.segments == ()
    assert (answer.emotion, answer.confidence, answer.probabilities) == (None, None, None)
    assert (answer.text, answer.status, answer.speech_ms) == ("", "no_speech", 0)
    assert (answer.avg_logprob, answer.no_speech_probability) == (None, None)
    assert "no_speech" in answer.warnings


def test_mandarin_is_transcribed_and_judged(
    recognizer: EmotionRecognizer, mandarin_clips: Mapping[str, MandarinClip]
) -> None:
    clips = [clip.samples for clip in mandarin_clips.values()]
    answer = recognizer.recognize(wav(np.concatenate([part for clip in clips for part in (clip, silence(3))])))
    assert len(answer.segments) == len(clips)
    assert answer.status == "ok"
    assert answer.text == "".join(one.transcript.text for one in answer.segments)
    assert answer.emotion in EMOTIONS


def test_a_recording_that_cannot_be_used_is_refused(recognizer: EmotionRecognizer) -> None:
    with pytest.raises(CorruptAudio):
        recognizer.recognize(wav(silence(1))[:44])
    with pytest.raises(AudioTooLong):
        recognizer.recognize(wav(silence(3)), limits=AudioLimits(max_seconds=2.0))


def test_utterances_weigh_by_their_length(recognizer: EmotionRecognizer) -> None:
    parts = [judged([1, 0, 0, 0, 0, 0], seconds=3, text="甲"), judged([0, 1, 0, 0, 0, 0], seconds=1, text="乙")]
    answer = recognizer.summarise(recording(), parts, timings_ms={})
    assert answer.probabilities == pytest.approx(dict(zip(EMOTIONS, (0.75, 0.25, 0, 0, 0, 0), strict=True)))
    assert answer.emotion == "angry"
    assert answer.confidence == pytest.approx(0.75)
    assert (answer.text, answer.speech_ms, answer.status) == ("甲乙", 4000, "ok")
    assert (answer.avg_logprob, answer.no_speech_probability) == (-0.5, 0.25)


def test_an_utterance_where_nothing_was_said_counts_for_nothing(recognizer: EmotionRecognizer) -> None:
    parts = [
        judged([0, 0, 1, 0, 0, 0], seconds=1, text="好"),
        judged(None, seconds=9, text="幻听", status="no_speech"),
    ]
    answer = recognizer.summarise(recording(), parts, timings_ms={})
    assert (answer.emotion, answer.text, answer.speech_ms) == ("happy", "好", 1000)
    assert len(answer.segments) == 2


def test_text_that_is_not_trusted_is_said_to_be(recognizer: EmotionRecognizer) -> None:
    doubtful = judged([0, 0, 1, 0, 0, 0], seconds=1, text="咦", status="low_confidence")
    answer = recognizer.summarise(recording(), [doubtful], timings_ms={})
    assert (answer.status, answer.warnings) == ("low_confidence", ("text_not_trusted",))
    trusted = judged([0, 0, 1, 0, 0, 0], seconds=1)
    assert recognizer.summarise(recording(), [doubtful, trusted], timings_ms={}).status == "ok"


def test_the_language_is_the_one_spoken_longest_and_another_is_said(recognizer: EmotionRecognizer) -> None:
    mandarin, english = (judged([1, 0, 0, 0, 0, 0], seconds=3, language=language) for language in ("zh", "en"))
    short = judged([1, 0, 0, 0, 0, 0], seconds=1, language="en")
    mostly_mandarin = recognizer.summarise(recording(), [short, mandarin], timings_ms={})
    assert (mostly_mandarin.language, mostly_mandarin.warnings) == ("zh", ("other_language",))
    assert recognizer.summarise(recording(), [english], timings_ms={}).language == "en"
    assert recognizer.summarise(recording(), [mandarin], timings_ms={}).warnings == ()
    assert recognizer.summarise(recording(), [], timings_ms={}).language == "zh"


def test_a_clipped_recording_is_said_to_be(recognizer: EmotionRecognizer) -> None:
    answer = recognizer.summarise(recording(clipped=True), [judged([1, 0, 0, 0, 0, 0], seconds=1)], timings_ms={})
    assert answer.warnings == ("clipped",)


def test_the_golden_recording_is_recognised_as_the_bundle_says(recognizer: EmotionRecognizer) -> None:
    assert recognizer.check_golden_audio() <= 0.05


def test_a_compute_type_that_the_bundle_was_not_checked_under_is_refused(
    tmp_path: Path, speech_recognizer: SpeechRecognizer, feature_extractor: FeatureExtractor
) -> None:
    bundle = Bundle.load(spoilt(tmp_path, golden_audio={"float16": dict.fromkeys(EMOTIONS, 1 / 6)}))
    unproven = EmotionRecognizer(bundle, speech=speech_recognizer, features=feature_extractor)
    with pytest.raises(GoldenMismatch, match="not checked under compute type int8; it supports float16"):
        unproven.check_golden_audio()


def test_another_answer_to_the_golden_recording_is_refused(
    tmp_path: Path, speech_recognizer: SpeechRecognizer, bundle_extractor: FeatureExtractor
) -> None:
    wrong = {emotion: float(emotion == "fear") for emotion in EMOTIONS}
    bundle = Bundle.load(spoilt(tmp_path, golden_audio={"int8": wrong}))
    unproven = EmotionRecognizer(bundle, speech=speech_recognizer, features=bundle_extractor)
    with pytest.raises(GoldenMismatch, match="the golden recording gives"):
        unproven.check_golden_audio()


def test_parts_other_than_those_trained_with_are_refused(tmp_path: Path, assets: AssetStore, bundle: Bundle) -> None:
    trained_with = {**bundle.facts.assets, "whisper-base": {"model.bin": "0" * 64}}
    with pytest.raises(BundleInvalid, match=r"trained with whisper-base/model\.bin of 0{64}; the cache holds"):
        EmotionRecognizer.load(spoilt(tmp_path, assets=trained_with), assets=assets)


def test_a_part_that_was_not_fetched_is_named(tmp_path: Path, bundle: Bundle, assets: AssetStore) -> None:
    with pytest.raises(AssetMissing, match=r"asset whisper-base .* python -m model\.assets fetch"):
        EmotionRecognizer.load(bundle.directory, assets=replace(assets, cache=tmp_path))


@pytest.fixture(scope="module")
def adapting(
    tmp_path_factory: pytest.TempPathFactory, speech_recognizer: SpeechRecognizer, feature_extractor: FeatureExtractor
) -> EmotionRecognizer:
    """An untrained network that reads what was heard of a speaker."""
    folder = drawn_bundle(tmp_path_factory.mktemp("adapting") / "drawn", small_network("whisper"))
    return EmotionRecognizer(Bundle.load(folder), speech=speech_recognizer, features=feature_extractor)


@pytest.fixture(scope="module")
def calls(bursts: tuple[Samples, Samples]) -> tuple[bytes, bytes]:
    """Two recordings of one call: an agent and a customer, then the customer alone."""
    first, second = bursts
    agent = np.concatenate([first, silence(4)])
    customer = np.concatenate([silence(3), second, silence(4)])[: len(agent)]
    return wav(agent, customer), wav(silence(len(first) / 16_000), first)


def rows_of(answer: Recognition) -> dict[tuple[int, int], Samples]:
    """Probabilities by channel and start."""
    return {
        (one.utterance.channel, one.utterance.start_ms): one.probabilities
        for one in answer.segments
        if one.probabilities is not None
    }


def test_in_a_conversation_every_utterance_is_judged_by_what_was_heard_of_its_speaker(
    adapting: EmotionRecognizer, calls: tuple[bytes, bytes]
) -> None:
    found, expected = Conversation(), Conversation()
    for call in calls:
        answer = adapting.recognize(call, conversation=found)
        known = [
            heard_in(expected, adapting.features(one.utterance.samples, one.transcript), one.utterance.channel)
            for one in answer.segments
        ]
        rows = np.stack(list(rows_of(answer).values()))
        np.testing.assert_allclose(rows, np.stack(adapting.classify(known)), atol=1e-5)
        assert np.abs(rows - np.stack(adapting.classify([replace(one, speaker=None) for one in known]))).max() > 1e-4
    assert set(found.heard) == {0, 1}
    for channel, statistics in expected.heard.items():
        assert found.heard[channel].mel.count == statistics.mel.count > 100


def test_a_channel_learns_nothing_from_the_other(adapting: EmotionRecognizer, bursts: tuple[Samples, Samples]) -> None:
    first, second = bursts
    length = max(len(first), len(second))
    customer = np.concatenate([silence(1), second, silence(3)])[: length + 32_000]
    agents = (silence(len(customer) / 16_000), np.concatenate([first, silence(4)])[: len(customer)])
    found = []
    for agent in agents:
        conversation = Conversation()
        answer = adapting.recognize(wav(agent, customer), conversation=conversation)
        found.append(({key: row for key, row in rows_of(answer).items() if key[0] == 1}, conversation.heard[1]))
    (alone, heard_alone), (beside, heard_beside) = found
    assert alone.keys() == beside.keys()
    for key, row in alone.items():
        np.testing.assert_allclose(beside[key], row, atol=1e-4)
    assert heard_alone.states.count == heard_beside.states.count


def test_silence_adds_nothing_to_a_conversation(adapting: EmotionRecognizer) -> None:
    conversation = Conversation()
    adapting.recognize(wav(silence(2)), conversation=conversation)
    assert conversation.heard == {}


def test_a_recording_that_cannot_be_used_adds_nothing_to_a_conversation(adapting: EmotionRecognizer) -> None:
    conversation = Conversation()
    with pytest.raises(CorruptAudio):
        adapting.recognize(wav(silence(1))[:44], conversation=conversation)
    assert conversation.heard == {}


def test_a_bundle_that_does_not_adapt_to_speakers_refuses_a_conversation(
    tmp_path: Path, speech_recognizer: SpeechRecognizer, feature_extractor: FeatureExtractor
) -> None:
    network = small_network("whisper", modalities=("words", "sentence"))
    bundle = Bundle.load(drawn_bundle(tmp_path / "drawn", network))
    deaf = EmotionRecognizer(bundle, speech=speech_recognizer, features=feature_extractor)
    with pytest.raises(ValueError, match="drawn 0 does not adapt to speakers"):
        deaf.recognize(wav(silence(1)), conversation=Conversation())
    assert deaf.recognize(wav(silence(1))).status == "no_speech"
