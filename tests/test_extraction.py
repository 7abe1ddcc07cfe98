import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from conftest import FEATURES, MandarinClip
from rich.console import Console
from rich.progress import Progress, TaskID

from model.acoustic import log_mel
from model.assets import AssetStore
from model.audio import SAMPLE_RATE_HZ, decode_audio
from model.features import FeatureExtractor
from model.segment import find_utterances
from model.speech import SpeechRecognizer
from training.augmentation import Change, augmented
from training.corpora.manifest import Clip
from training.extraction import NO_CHINESE, NO_SPEECH, NO_TEXT, Extraction
from training.feature_cache import CLIPS_PER_SHARD, Example

Samples = npt.NDArray[np.float32]
Opened = Callable[..., Extraction]


def must_not_load() -> Any:
    raise AssertionError("everything is cached: nothing has to be loaded")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the module, as one user would have it: later tests find what earlier ones computed."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def opened(
    assets: AssetStore, speech_recognizer: SpeechRecognizer, feature_extractor: FeatureExtractor, cache: Path
) -> Opened:
    names = (FEATURES.speech.asset, FEATURES.words.asset)

    def extraction(*, data: Path = Path("nowhere"), cache: Path = cache, cached: bool = False) -> Extraction:
        return Extraction(
            config=FEATURES,
            load_speech=must_not_load if cached else lambda: speech_recognizer,
            load_features=must_not_load if cached else lambda: feature_extractor,
            assets={name: dict(assets.sha256(name)) for name in names},
            data=data,
            cache=cache,
        )

    return extraction


@pytest.fixture(scope="module")
def clips(
    mandarin_clips: Mapping[str, MandarinClip],
    recordings: Mapping[str, Samples],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Clip]:
    """Two Mandarin clips, one in English, one of two sentences, one silent, one broken."""
    folder = tmp_path_factory.mktemp("recordings")
    first, second, _ = mandarin_clips.values()
    pause = np.zeros(3 * SAMPLE_RATE_HZ, dtype=np.float32)
    english = written(folder, recordings["first_in_line"][: 2 * SAMPLE_RATE_HZ])
    (folder / "broken.wav").write_bytes(b"RIFF")
    return [
        mandarin("first", written(folder, first.samples), first.text),
        mandarin("second", written(folder, second.samples), None),
        replace(mandarin("english", english, "Your call is now first in line."), language="en"),
        mandarin("both", written(folder, np.concatenate([first.samples, pause, second.samples])), "两句"),
        mandarin("silent", written(folder, pause), None),
        mandarin("broken", folder / "broken.wav", "坏了"),
    ]


def written(folder: Path, samples: Samples) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.wav"
    soundfile.write(path, samples, SAMPLE_RATE_HZ)
    return path


def mandarin(key: str, audio: Path | None, text: str | None) -> Clip:
    return Clip(
        key=key, corpus="mine", audio=audio, emotion="sad", speaker="anna", sentence=None, text=text, language="zh"
    )


def by_key(examples: Sequence[Example]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for example in examples:
        found.setdefault(example.clip.key, []).append(example)
    return found


def assert_close(one: Samples | None, other: Samples | None) -> None:
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        # Kept in half precision.
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-3)


def test_speech_is_heard_as_by_the_service_and_comes_in_the_order_of_the_clips(
    opened: Opened, clips: list[Clip], speech_recognizer: SpeechRecognizer, feature_extractor: FeatureExtractor
) -> None:
    examples = opened().examples_of("mine", clips)
    assert [one.clip.key for one in examples] == ["first", "second", "english", "both", "both"]
    assert clips[0].audio is not None
    (utterance,) = find_utterances(decode_audio(clips[0].audio), config=FEATURES.segment)
    (transcript,) = speech_recognizer.transcribe([utterance.samples])
    expected = feature_extractor.of_speech(utterance.samples, transcript)
    for name in ("mel", "states", "words", "sentence"):
        assert_close(getattr(examples[0].features, name), getattr(expected, name))
    assert (examples[0].transcript, examples[0].transcript_status) == (transcript.text, transcript.status)
    assert examples[0].seconds == utterance.seconds
    assert {one.variant for one in examples} == {""}


def test_a_foreign_clip_gives_sound_alone(opened: Opened, clips: list[Clip]) -> None:
    (english,) = by_key(opened().examples_of("mine", clips))["english"]
    assert english.transcript_status == "foreign"
    assert (english.features.words, english.features.sentence) == (None, None)
    assert english.features.states is not None


def test_what_is_cached_needs_no_encoder_and_still_says_what_was_skipped(opened: Opened, clips: list[Clip]) -> None:
    computed, recalled = opened(), opened(cached=True)
    one = computed.examples_of("mine", clips)
    other = recalled.examples_of("mine", [replace(clip, emotion="happy") for clip in clips])
    assert [example.clip.emotion for example in other] == ["happy"] * 5
    for example, again in zip(one, other, strict=True):
        np.testing.assert_array_equal(example.features.mel, again.features.mel)
    assert computed.skipped == recalled.skipped
    assert recalled.skipped["silent"] == NO_SPEECH
    assert recalled.skipped.keys() == {"silent", "broken"}


def test_copies_sound_other_and_keep_the_words_of_their_parents(opened: Opened, clips: list[Clip]) -> None:
    parents = opened().examples_of("mine", clips)
    copies = opened().examples_of("mine", clips, change=Change("stretch"))
    for parent, copy in zip(parents, copies, strict=True):
        assert (copy.clip, copy.variant) == (parent.clip, "stretch")
        assert (copy.transcript, copy.transcript_status) == (parent.transcript, parent.transcript_status)
        assert_close(copy.features.words, parent.features.words)
        assert_close(copy.features.sentence, parent.features.sentence)
        assert copy.seconds != parent.seconds
        assert 0.9 <= copy.seconds / parent.seconds <= 1.12
        assert copy.features.mel is not None
        assert len(copy.features.mel) == pytest.approx(copy.seconds * 100, abs=2)


def test_a_copy_is_cut_from_the_original_and_heard_by_the_same_code(
    opened: Opened, clips: list[Clip], speech_recognizer: SpeechRecognizer
) -> None:
    (copy,) = by_key(opened().examples_of("mine", clips, change=Change("gain")))["first"]
    assert clips[0].audio is not None
    (utterance,) = find_utterances(decode_audio(clips[0].audio), config=FEATURES.segment)
    assert copy.seconds == utterance.seconds
    assert copy.features.mel is not None
    # A gain without clipping moves every loud enough band by the same logarithm of power.
    moved = copy.features.mel - log_mel(utterance.samples)
    loud = log_mel(utterance.samples) > -3
    assert np.std(moved[loud]) < 0.05
    gain = np.exp(np.median(moved[loud]) / 2)
    (states,) = speech_recognizer.encode([(utterance.samples * gain).astype(np.float32)])
    assert copy.features.states is not None
    assert np.mean(np.abs(copy.features.states - states)) < 0.1 * np.std(states)


def test_a_copy_depends_on_its_seed_and_key_and_not_on_its_neighbours(
    opened: Opened, clips: list[Clip], tmp_path: Path
) -> None:
    def mel_of(chosen: Sequence[Clip], seed: int) -> Samples:
        (copy,) = by_key(opened().examples_of("mine", chosen, change=Change("noise", seed=seed)))["first"]
        assert copy.features.mel is not None
        return copy.features.mel

    whole = mel_of(clips, 0)
    np.testing.assert_array_equal(whole, mel_of([clips[2], clips[0]], 0))
    assert not np.array_equal(whole, mel_of([clips[0]], 1))


def test_a_recording_changed_as_a_whole_is_served_like_a_file_that_sounded_so(
    opened: Opened, clips: list[Clip], tmp_path: Path
) -> None:
    by_line = opened().examples_of("mine", clips, change=Change("telephone", of="recording"))
    phoned = []
    for clip in clips[:4]:
        assert clip.audio is not None
        (samples,) = decode_audio(clip.audio).samples
        heard = augmented(samples, "telephone", generator=np.random.default_rng(0))
        path = tmp_path / f"{clip.key}.wav"
        soundfile.write(path, heard, SAMPLE_RATE_HZ, subtype="FLOAT")
        phoned.append(replace(clip, audio=path))
    as_files = opened(cache=tmp_path).examples_of("phoned", phoned)
    assert [one.clip.key for one in by_line] == ["first", "second", "english", "both", "both"]
    assert {one.variant for one in by_line} == {"telephone"}
    for one, file in zip(by_line, as_files, strict=True):
        assert (one.transcript, one.transcript_status) == (file.transcript, file.transcript_status)
        assert one.seconds == file.seconds
        for name in ("mel", "states", "words", "sentence"):
            assert_close(getattr(one.features, name), getattr(file.features, name))


def test_a_recording_cut_short_has_the_words_of_its_beginning_and_its_copies_those_of_the_whole(
    opened: Opened, clips: list[Clip]
) -> None:
    whole = by_key(opened().examples_of("mine", clips))["both"]
    extraction = opened()
    (cut,) = by_key(extraction.examples_of("mine", clips, change=Change("two_seconds", of="recording")))["both"]
    copies = by_key(opened().examples_of("mine", clips, change=Change("two_seconds")))["both"]
    assert [one.transcript for one in copies] == [one.transcript for one in whole]
    assert cut.transcript_status == "ok"
    assert cut.seconds <= 2.0
    assert whole[0].transcript.startswith(cut.transcript[:2])
    assert extraction.skipped.keys() == {"silent", "broken"}


def test_changed_recordings_are_kept_beside_unchanged_ones_and_drawn_by_seed_and_key(
    opened: Opened, clips: list[Clip]
) -> None:
    def mel_of(chosen: Sequence[Clip], seed: int, **facts: bool) -> Samples:
        change = Change("background_10db", seed=seed, of="recording")
        (example,) = by_key(opened(**facts).examples_of("mine", chosen, change=change))["english"]
        assert example.features.mel is not None
        return example.features.mel

    whole = mel_of(clips, 0)
    np.testing.assert_array_equal(whole, mel_of(clips, 0, cached=True))
    np.testing.assert_array_equal(whole, mel_of([clips[2]], 0))
    assert not np.array_equal(whole, mel_of([clips[2]], 1))
    opened(cached=True).examples_of("mine", clips)


def test_both_channels_of_a_recording_are_changed_alike(opened: Opened, clips: list[Clip], tmp_path: Path) -> None:
    assert clips[2].audio is not None
    (line,) = decode_audio(clips[2].audio).samples
    path = tmp_path / "stereo.wav"
    # The second caller speaks more softly, and later.
    soundfile.write(path, np.stack([line, 0.5 * np.roll(line, 800)], axis=1), SAMPLE_RATE_HZ, subtype="FLOAT")
    stereo = replace(clips[2], key="stereo", audio=path)
    plain = opened(cache=tmp_path).examples_of("mine", [stereo])
    faster = opened(cache=tmp_path).examples_of("mine", [stereo], change=Change("speed", of="recording"))
    assert len(faster) == len(plain) == 2
    ratios = [one.seconds / other.seconds for one, other in zip(faster, plain, strict=True)]
    assert ratios[0] == pytest.approx(ratios[1], rel=0.1)
    assert ratios[0] != pytest.approx(1.0, abs=0.001)


def test_texts_have_no_copies(opened: Opened, clips: list[Clip]) -> None:
    texts = [mandarin("text", None, "今天很高兴")]
    for of in ("utterance", "recording"):
        assert opened().examples_of("mine", texts, change=Change("noise", of=of)) == []
    copies = opened().examples_of("mine", [*clips[:1], *texts], change=Change("noise"))
    assert [copy.clip.key for copy in copies] == ["first"]


def test_gold_text_replaces_what_was_heard_where_a_clip_is_one_utterance(
    opened: Opened, clips: list[Clip], feature_extractor: FeatureExtractor
) -> None:
    heard = by_key(opened().examples_of("mine", clips))
    extraction = opened()
    gold = by_key(extraction.examples_of("mine", clips, text="gold"))
    (first,), (second,), (english,) = gold["first"], gold["second"], gold["english"]
    assert (first.transcript, first.transcript_status) == (clips[0].text, "ok")
    assert clips[0].text is not None
    expected = feature_extractor.of_text(clips[0].text)
    assert_close(first.features.words, expected.words)
    assert_close(first.features.sentence, expected.sentence)
    assert_close(first.features.states, heard["first"][0].features.states)
    assert (second.transcript, second.transcript_status) == ("", NO_TEXT)
    assert (second.features.words, second.features.sentence) == (None, None)
    assert english.features.sentence is None
    assert [one.transcript for one in gold["both"]] == [one.transcript for one in heard["both"]]
    assert extraction.skipped.keys() == {"silent", "broken"}


def test_copies_can_have_gold_text_as_well(opened: Opened, clips: list[Clip]) -> None:
    (copy,) = by_key(opened().examples_of("mine", clips, text="gold", change=Change("noise")))["first"]
    assert (copy.transcript, copy.variant) == (clips[0].text, "noise")


class InterruptedAfterOneShard(Progress):
    """A terminal at which somebody presses control and C as soon as something is done."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_extraction_resumes_where_it_stopped(opened: Opened, clips: list[Clip], tmp_path: Path) -> None:
    silence = written(tmp_path, np.zeros(3200, dtype=np.float32))
    many = [mandarin(str(number), silence, None) for number in range(CLIPS_PER_SHARD)] + clips[:1]
    with pytest.raises(KeyboardInterrupt):
        opened(cache=tmp_path).examples_of("mine", many, progress=InterruptedAfterOneShard())
    (kept,) = tmp_path.rglob("*.npz")
    written_at = kept.stat().st_mtime_ns
    lines = io.StringIO()
    extraction = opened(cache=tmp_path)
    with Progress(console=Console(file=lines)) as progress:
        examples = extraction.examples_of("mine", many, progress=progress)
        (task,) = progress.tasks
    assert (task.completed, task.total) == (65, 65)
    assert "features of mine: 65 of 65" in lines.getvalue()
    assert [one.clip.key for one in examples] == ["first"]
    assert len(extraction.skipped) == CLIPS_PER_SHARD
    assert kept.stat().st_mtime_ns == written_at
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_a_corpus_is_read_by_its_name_below_the_data_folder(opened: Opened, tmp_path: Path) -> None:
    rows = [{"key": "1", "text": "我很难过", "emotion": "sad", "language": "zh"}, {"key": "2", "text": " "}]
    (tmp_path / "ewect").mkdir()
    (tmp_path / "ewect" / "virus_dev.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    extraction = opened(data=tmp_path, cache=tmp_path)
    (example,) = extraction.examples("ewect_dev")
    assert (example.transcript, example.transcript_status, example.seconds) == ("我很难过", "ok", 0.0)
    assert example.features.mel is None
    assert example.features.sentence is not None
    assert extraction.skipped == {"2": "empty text"}


POSTS = [
    mandarin("post 1", None, "他说：她今天很高兴，它也是！" * 3),
    mandarin("post 2", None, "[good] LOL 😂"),
    mandarin("post 3", None, "是他的事，不是她的" * 4),
    mandarin("post 4", None, None),
]


def test_misheard_texts_are_other_texts_of_the_same_clips(
    opened: Opened, clips: list[Clip], feature_extractor: FeatureExtractor
) -> None:
    extraction = opened()
    copies = extraction.examples_of("mine", [*clips[:1], *POSTS], misheard=0)
    assert [copy.clip for copy in copies] == [POSTS[0], POSTS[2]]
    assert {(copy.variant, copy.transcript_status, copy.seconds) for copy in copies} == {("misheard", "ok", 0.0)}
    assert extraction.skipped == {"post 2": NO_CHINESE, "post 4": NO_CHINESE}
    for copy in copies:
        assert copy.transcript != copy.clip.text
        assert not set(copy.transcript) & set("，：！")
        expected = feature_extractor.of_text(copy.transcript)
        assert_close(copy.features.words, expected.words)
        assert_close(copy.features.sentence, expected.sentence)
        assert copy.features.ngrams is not None
        assert expected.ngrams is not None
        np.testing.assert_array_equal(copy.features.ngrams.buckets, expected.ngrams.buckets)
        assert copy.features.mel is None


def test_a_misheard_text_depends_on_its_seed_and_key_and_not_on_the_order(opened: Opened, tmp_path: Path) -> None:
    def texts_of(chosen: Sequence[Clip], seed: int) -> dict[str, str]:
        copies = opened(cache=tmp_path).examples_of("mine", chosen, misheard=seed)
        return {copy.clip.key: copy.transcript for copy in copies}

    whole = texts_of(POSTS, 0)
    assert texts_of(POSTS[::-1], 0) == whole
    assert texts_of(POSTS, 1) != whole
    twin = replace(POSTS[0], key="post 5")
    both = texts_of([POSTS[0], twin], 0)
    assert both["post 1"] != both["post 5"]


def test_misheard_texts_are_kept_beside_the_texts_by_their_seed(opened: Opened, tmp_path: Path) -> None:
    def shards() -> int:
        return len(list(tmp_path.rglob("*.npz")))

    written = opened(cache=tmp_path).examples_of("mine", POSTS)
    heard = opened(cache=tmp_path).examples_of("mine", POSTS, misheard=0)
    assert shards() == 2
    again = opened(cache=tmp_path, cached=True)
    assert [one.transcript for one in again.examples_of("mine", POSTS)] == [one.transcript for one in written]
    assert [one.transcript for one in again.examples_of("mine", POSTS, misheard=0)] == [one.transcript for one in heard]
    opened(cache=tmp_path).examples_of("mine", POSTS, misheard=1)
    assert shards() == 3


def test_no_text_is_misheard_where_only_recordings_are(opened: Opened, clips: list[Clip]) -> None:
    assert opened(cached=True).examples_of("mine", clips, misheard=0) == []
