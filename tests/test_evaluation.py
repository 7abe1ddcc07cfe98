import io
import json

import numpy as np
import pytest
from drawn_features import FEATURES, drawn_example, drawn_features, small_network
from rich.console import Console

from model.labels import EMOTIONS
from training.evaluation import (
    Evaluation,
    FoldResult,
    evaluate,
    fold_result,
    print_evaluation,
    shuffled_audio,
    text_score,
)
from training.predictions import Prediction

VIEWS = ("both", "sound", "text", "shuffled")


def said(speaker: str, truth: int, predicted: int, *, sentence: str = "1", certainty: float = 4.0) -> Prediction:
    logits = [0.0] * 6
    logits[predicted] = certainty
    key = f"{speaker}-{sentence}-{truth}"
    return Prediction(key=key, speaker=speaker, sentence=sentence, emotion=truth, logits=tuple(logits))


def fold_of(speaker: str, *, right: int, sentences: int = 4, **views: list[Prediction]) -> FoldResult:
    """A fold in which ``right`` of the six emotions are always recognised, and the others never."""
    rows = [
        said(speaker, emotion, emotion if emotion < right else (emotion + 1) % 6, sentence=str(sentence))
        for sentence in range(sentences)
        for emotion in range(6)
    ]
    return FoldResult(name=speaker, views=dict.fromkeys(VIEWS, rows) | views)


@pytest.fixture
def evaluation() -> Evaluation:
    always_angry = [said("anna", emotion, 0) for emotion in range(6)]
    folds = [fold_of("anna", right=6, text=always_angry), fold_of("bernd", right=3, text=[])]
    return evaluate(folds, corpus="casia", emotions=EMOTIONS, text_macro_f1=0.5)


def test_recall_is_reported_for_every_speaker_and_averaged_over_them(evaluation: Evaluation) -> None:
    assert {name: interval.value for name, interval in evaluation.recall.items()} == {"anna": 1.0, "bernd": 0.5}
    assert evaluation.mean_recall == pytest.approx(0.75)
    assert evaluation.mean_recall_sound_only == pytest.approx(0.75)
    assert evaluation.control_shuffled_audio == pytest.approx(0.75)


def test_always_the_same_answer_is_chance_and_a_speaker_without_text_is_not_averaged(evaluation: Evaluation) -> None:
    assert evaluation.control_transcripts_only == pytest.approx(1 / 6)


def test_without_any_trusted_transcript_the_control_of_text_is_not_measured() -> None:
    found = evaluate([fold_of("anna", right=6, text=[])], corpus="casia", emotions=EMOTIONS, text_macro_f1=None)
    assert found.control_transcripts_only is None
    file = io.StringIO()
    print_evaluation(found, Console(file=file, width=160))
    assert "transcripts only" not in file.getvalue()


def test_confusion_and_recall_by_emotion_are_of_all_speakers_together(evaluation: Evaluation) -> None:
    assert np.sum(evaluation.confusion) == 48
    assert evaluation.confusion[0][0] == 8
    assert evaluation.confusion[5] == [4, 0, 0, 0, 0, 4]
    assert evaluation.recall_by_emotion == {name: 1.0 if k < 3 else 0.5 for k, name in enumerate(EMOTIONS)}


def test_a_sentence_in_every_emotion_is_drawn_as_one() -> None:
    by_sentence = [
        said("anna", emotion, emotion if s < 5 else 0, sentence=str(s)) for s in range(10) for emotion in range(6)
    ]
    (interval,) = evaluate(
        [FoldResult(name="anna", views=dict.fromkeys(VIEWS, by_sentence))],
        corpus="casia",
        emotions=EMOTIONS,
        text_macro_f1=None,
    ).recall.values()
    # Ten sentences are the evidence, not sixty clips.
    assert interval.high - interval.low > 0.4


def test_a_temperature_fitted_on_other_speakers_mends_overconfidence() -> None:
    generator = np.random.default_rng(0)
    folds = []
    for speaker in ("anna", "bernd", "carla"):
        truths = generator.integers(0, 6, 300)
        right = generator.random(300) < 0.6
        rows = [
            said(speaker, int(truth), int(truth) if ok else int(truth + 1) % 6, sentence=str(k), certainty=12.0)
            for k, (truth, ok) in enumerate(zip(truths, right, strict=True))
        ]
        folds.append(FoldResult(name=speaker, views=dict.fromkeys(VIEWS, rows)))
    found = evaluate(folds, corpus="casia", emotions=EMOTIONS, text_macro_f1=None)
    assert found.temperature > 2
    assert found.calibration_error_before > 0.3
    assert found.calibration_error_after < 0.1


def test_calibration_is_judged_on_a_speaker_who_did_not_fit_it() -> None:
    shy = [said("anna", k % 6, k % 6, sentence=str(k), certainty=1.0) for k in range(60)]
    bold = [said("bernd", k % 6, (k + k % 2) % 6, sentence=str(k), certainty=12.0) for k in range(60)]
    folds = [FoldResult(name=rows[0].speaker, views=dict.fromkeys(VIEWS, rows)) for rows in (shy, bold)]
    # Each would be mended by a temperature of its own; the other's makes it worse.
    assert evaluate(folds, corpus="casia", emotions=EMOTIONS, text_macro_f1=None).calibration_error_after > 0.5


def test_the_evaluation_is_plain_json(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert document["recall"]["bernd"]["value"] == 0.5
    assert document["text_macro_f1"] == 0.5


def test_what_is_printed_names_every_speaker_figure_and_control(evaluation: Evaluation) -> None:
    file = io.StringIO()
    print_evaluation(evaluation, Console(file=file, width=160))
    printed = file.getvalue()
    for expected in ("anna", "bernd", "mean, sound only", "0.750", "transcripts only (chance 0.167)", "audio shuffled"):
        assert expected in printed
    assert "macro F1 0.500" in printed
    assert "angry 1.00" in printed


def test_shuffled_audio_leaves_text_and_label_where_they_are() -> None:
    generator = np.random.default_rng(0)
    examples = [
        drawn_example(drawn_features(generator), key=str(index), emotion=EMOTIONS[index % 6]) for index in range(12)
    ]
    shuffled = shuffled_audio(examples)
    for one, example in zip(shuffled, examples, strict=True):
        assert one.clip == example.clip
        assert one.features.sentence is example.features.sentence
        assert one.features.words is example.features.words
    sounds = [id(one.features.mel) for one in shuffled]
    assert sounds != [id(example.features.mel) for example in examples]
    assert sorted(sounds) == sorted(id(example.features.mel) for example in examples)
    assert [id(one.features.states) for one in shuffled] == [
        id(next(e for e in examples if e.features.mel is one.features.mel).features.states) for one in shuffled
    ]


def test_a_fold_is_viewed_in_every_way() -> None:
    generator, network = np.random.default_rng(0), small_network("whisper")
    examples = [
        drawn_example(drawn_features(generator, words=4 * (index % 2)), key=str(index), speaker="carla")
        for index in range(6)
    ]
    fold = fold_result(network, examples, name="carla", features=FEATURES, emotions=EMOTIONS)
    assert fold.name == "carla"
    assert {view: len(rows) for view, rows in fold.views.items()} == {"both": 6, "sound": 6, "text": 3, "shuffled": 6}
    assert fold.views["shuffled"] != fold.views["both"]


def test_text_is_scored_by_macro_f1() -> None:
    network = small_network("whisper")
    texts = [drawn_example(drawn_features(np.random.default_rng(k), frames=0), key=str(k)) for k in range(4)]
    assert 0.0 <= text_score(network, texts, features=FEATURES, emotions=EMOTIONS) <= 1.0
