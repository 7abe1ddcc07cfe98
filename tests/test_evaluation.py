import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from drawn_predictions import drawn_rows

from model.labels import EMOTIONS
from training.evaluation import Evaluation, evaluate
from training.metrics import fit_temperature
from training.prediction_rows import PredictionRow
from training.seed_runs import seed_runs

VIEWS = ("both", "sound", "text", "shuffled")


def said(
    speaker: str, truth: int, predicted: int, *, sentence: str = "1", certainty: float = 4.0, seed: int = 0
) -> PredictionRow:
    logits = [0.0] * 6
    logits[predicted] = certainty
    key = f"{speaker}-{sentence}-{truth}"
    return PredictionRow(
        key=key,
        speaker=speaker,
        fold=speaker,
        sentence=sentence,
        emotion=EMOTIONS[truth],
        logits=tuple(logits),
        seed=seed,
    )


def in_views(rows: Sequence[PredictionRow], *views: str) -> list[PredictionRow]:
    return [replace(row, view=view) for view in views for row in rows]


def fold_of(speaker: str, *, right: Iterable[int], sentences: int = 4, seed: int = 0) -> list[PredictionRow]:
    """Every emotion of ``right`` is always recognised, and the others never."""
    known = set(right)
    return [
        said(speaker, emotion, emotion if emotion in known else (emotion + 1) % 6, sentence=str(sentence), seed=seed)
        for sentence in range(sentences)
        for emotion in range(6)
    ]


def evaluated(*rows: Sequence[PredictionRow]) -> Evaluation:
    return evaluate([row for some in rows for row in some], corpus="casia", emotions=EMOTIONS)


ANNA, BERND = fold_of("anna", right=range(6)), fold_of("bernd", right=range(3))
BOTH = [*ANNA, *BERND]
CALIBRATED = ("anna", "bernd", "carla")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    always_angry = [said("anna", emotion, 0) for emotion in range(6)]
    return evaluated(in_views(BOTH, "both", "sound", "shuffled"), in_views(always_angry, "text"))


def test_recall_is_reported_for_every_speaker_and_averaged_over_them(evaluation: Evaluation) -> None:
    assert {name: interval.value for name, interval in evaluation.recall.items()} == {"anna": 1.0, "bernd": 0.5}
    assert evaluation.mean_recall.value == pytest.approx(0.75)
    assert evaluation.mean_recall_sound_only == pytest.approx(0.75)
    assert evaluation.control_shuffled_audio == pytest.approx(0.75)
    assert (evaluation.corpus, evaluation.clips, list(evaluation.seeds)) == ("casia", 48, [0])


def test_always_the_same_answer_is_chance_and_a_speaker_without_text_is_not_averaged(evaluation: Evaluation) -> None:
    assert evaluation.control_transcripts_only == pytest.approx(1 / 6)


def test_what_was_not_shown_is_not_measured() -> None:
    found = evaluated(in_views(BOTH, "both", "sound", "shuffled"))
    assert (found.control_transcripts_only, found.calls, found.pairs) == (None, None, None)
    assert (dict(found.conditions), dict(found.text_macro_f1)) == ({}, {})


def test_seeds_are_averaged_and_their_clips_are_counted_once() -> None:
    worse = fold_of("anna", right=range(3), seed=7) + fold_of("bernd", right=[0], seed=7)
    found = evaluated(in_views([*BOTH, *worse], *VIEWS))
    assert (list(found.seeds), found.clips) == ([0, 7], 48)
    assert found.recall["anna"].value == pytest.approx((1.0 + 0.5) / 2)
    assert found.recall["bernd"].value == pytest.approx((0.5 + 1 / 6) / 2)
    assert found.mean_recall.value == pytest.approx(np.mean([1.0, 0.5, 0.5, 1 / 6]))
    assert np.sum(found.confusion) == 96


def test_confusion_and_recall_by_emotion_are_of_all_speakers_together(evaluation: Evaluation) -> None:
    assert np.sum(evaluation.confusion) == 48
    assert evaluation.confusion[0][0] == 8
    assert evaluation.confusion[5] == [4, 0, 0, 0, 0, 4]
    assert evaluation.recall_by_emotion == {name: 1.0 if k < 3 else 0.5 for k, name in enumerate(EMOTIONS)}


def test_a_sentence_in_every_emotion_is_drawn_as_one() -> None:
    by_sentence = [
        said("anna", emotion, emotion if s < 5 else 0, sentence=str(s)) for s in range(10) for emotion in range(6)
    ]
    (interval,) = evaluated(in_views(by_sentence, *VIEWS)).recall.values()
    # Ten sentences are the evidence, not sixty clips.
    assert interval.high - interval.low > 0.4


def test_a_call_is_averaged_over_its_orders() -> None:
    orders = [*in_views(ANNA, "call 0"), *in_views(fold_of("anna", right=range(3)), "call 1")]
    found = evaluated(in_views(BOTH, *VIEWS), orders, in_views(BERND, "call 0", "call 1")).calls
    assert found is not None
    assert {name: interval.value for name, interval in found.recall.items()} == {"anna": 0.75, "bernd": 0.5}
    assert found.mean_recall.value == pytest.approx((1.0 + 0.5 + 0.5 + 0.5) / 4)


def test_a_corpus_without_neutral_clips_has_calls_but_no_neutral_ones() -> None:
    found = evaluated(in_views(BOTH, *VIEWS, "call 0")).calls
    assert found is not None
    assert found.neutral_mean_recall is None
    assert found.neutral_mean_recall_alone is None


def test_a_neutral_call_is_compared_with_the_same_clips_each_by_itself() -> None:
    """By itself, bernd is recognised in three emotions of six; of the two that his call kept, in one."""
    kept = [one for one in fold_of("bernd", right=range(6)) if one.emotion in (EMOTIONS[0], EMOTIONS[5])]
    some = [*in_views(ANNA, "neutral call 0"), *in_views(kept, "neutral call 0")]
    found = evaluated(in_views(BOTH, *VIEWS, "call 0"), some).calls
    assert found is not None
    assert found.neutral_mean_recall is not None
    assert found.neutral_mean_recall_alone is not None
    assert found.neutral_mean_recall.value == 1.0
    assert found.neutral_mean_recall_alone.value == pytest.approx((1.0 + 0.5) / 2)
    assert found.mean_recall.value == pytest.approx(0.75)


def test_every_condition_has_a_recall_under_its_name() -> None:
    on_the_phone = in_views([*fold_of("anna", right=range(3)), *BERND], "condition telephone")
    found = evaluated(in_views(BOTH, *VIEWS, "condition two_seconds"), on_the_phone).conditions
    assert {name: interval.value for name, interval in found.items()} == {"two_seconds": 0.75, "telephone": 0.5}


def guessing(speaker: str, *, share_right: float, certainty: float, seed: int = 0) -> list[PredictionRow]:
    generator = np.random.default_rng((seed, len(speaker)))
    truths = generator.integers(0, 6, 300)
    right = generator.random(300) < share_right
    return [
        said(speaker, int(truth), int(truth) if ok else int(truth + 1) % 6, sentence=str(k), certainty=certainty)
        for k, (truth, ok) in enumerate(zip(truths, right, strict=True))
    ]


def test_a_temperature_fitted_on_other_speakers_mends_overconfidence() -> None:
    rows = [row for speaker in CALIBRATED for row in guessing(speaker, share_right=0.6, certainty=12.0)]
    found = evaluated(in_views(rows, *VIEWS)).calibration
    assert found is not None
    assert found.temperature > 2
    assert found.error_before > 0.3
    assert found.error_after < 0.1


def test_calibration_is_judged_on_a_speaker_who_did_not_fit_it() -> None:
    shy = [said("anna", k % 6, k % 6, sentence=str(k), certainty=1.0) for k in range(60)]
    bold = [said("bernd", k % 6, (k + k % 2) % 6, sentence=str(k), certainty=12.0) for k in range(60)]
    found = evaluated(in_views([*shy, *bold], *VIEWS)).calibration
    assert found is not None
    # Each would be mended by a temperature of its own; the other's makes it worse.
    assert found.error_after > 0.5


def test_the_temperature_that_ships_is_fitted_on_all_speakers_and_seeds() -> None:
    rows = drawn_rows(certainty=3.0, seeds=(0, 1))
    found = evaluated(in_views(rows, *VIEWS)).calibration
    runs = seed_runs(rows, labels=EMOTIONS)
    logits, truth = np.concatenate([run.logits for run in runs]), np.concatenate([run.truth for run in runs])
    assert found is not None
    assert found.temperature == pytest.approx(fit_temperature(logits, truth))
    assert found.negative_log_likelihood_after > 0


def test_a_single_fold_leaves_nobody_to_fit_a_temperature_on() -> None:
    assert evaluated(in_views(ANNA, *VIEWS)).calibration is None


def test_abstention_ranks_what_was_calibrated_on_others() -> None:
    found = evaluated(in_views(drawn_rows(certainty=3.0), *VIEWS)).calibration
    assert found is not None
    assert found.abstention.accuracy_when_confident > found.abstention.accuracy
    assert 1 / 6 < found.abstention.threshold < 1


def pair_views(
    *, fused: Iterable[int], sound: Iterable[int], text: Iterable[int], clash_certainty: float = 1.0
) -> list[PredictionRow]:
    """Everything that is needed of pairs, of two speakers alike."""
    rows: list[PredictionRow] = []
    for speaker in ("anna", "bernd"):
        heard, paired = fold_of(speaker, right=sound), fold_of(speaker, right=fused)
        rows += in_views(heard, "both", "sound", "shuffled") + in_views(paired, "pair")
        rows += in_views(fold_of(speaker, right=text), "pair text")
        unsure = [replace(one, logits=tuple(clash_certainty / 4 * value for value in one.logits)) for one in paired]
        rows += in_views(unsure, "clash")
    return rows


@pytest.mark.parametrize(("sound", "text"), [(range(3), range(1)), (range(1), range(3))])
def test_the_margin_of_pairs_is_over_the_better_of_sound_and_text(sound: range, text: range) -> None:
    found = evaluated(pair_views(fused=range(5), sound=sound, text=text)).pairs
    assert found is not None
    assert found.recall == pytest.approx(5 / 6)
    assert (found.recall_sound_only, found.recall_text_only) == pytest.approx((len(sound) / 6, len(text) / 6))
    assert found.margin.value == pytest.approx(2 / 6)
    # Every sentence gains the same: paired, there is nothing that resampling could move.
    assert (found.margin.low, found.margin.high) == pytest.approx((2 / 6, 2 / 6))


def test_pairs_that_lose_have_a_margin_below_zero() -> None:
    found = evaluated(pair_views(fused=range(2), sound=range(3), text=range(1))).pairs
    assert found is not None
    assert found.margin.high < 0


def test_pairs_are_compared_with_the_sound_of_the_same_clips() -> None:
    """Of the emotions that no text has no clip is paired, and their sound does not count."""
    rows = pair_views(fused=range(2), sound=range(2), text=range(1))
    views = ("pair", "pair text", "clash")
    some = [row for row in rows if row.view not in views or row.emotion in EMOTIONS[:4]]
    found = evaluated(some).pairs
    assert found is not None
    assert found.recall_sound_only == found.recall == pytest.approx(0.5)
    assert (found.margin.low, found.margin.value, found.margin.high) == pytest.approx((0.0, 0.0, 0.0))


def test_disagreement_shows_in_the_confidence() -> None:
    found = evaluated(pair_views(fused=range(6), sound=range(3), text=range(3), clash_certainty=1.0)).pairs
    assert found is not None
    assert found.confidence_agreeing > found.confidence_disagreeing + 0.1


def test_posts_are_scored_by_macro_f1_averaged_over_the_networks() -> None:
    posts = fold_of("", right=range(6), sentences=2)
    bad = fold_of("", right=(), sentences=2)
    rows = [replace(row, view="posts ewect_dev", fold="anna") for row in posts]
    rows += [replace(row, view="posts ewect_dev", fold="bernd") for row in bad]
    found = evaluated(in_views(BOTH, *VIEWS), rows)
    # One network reads every post right, the other none; each post is in both, and the clips are not among them.
    assert found.text_macro_f1 == {"ewect_dev": pytest.approx(0.5)}
    assert found.clips == 48


def test_the_evaluation_is_plain_json() -> None:
    rows = pair_views(fused=range(5), sound=range(3), text=range(1))
    found = evaluated(rows, in_views(BOTH, "call 0", "neutral call 0", "condition telephone", "posts ewect_dev"))
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["recall"]["bernd"]["value"] == 0.5
    assert set(document["text_macro_f1"]) == {"ewect_dev"}
    assert set(document["calls"]["recall"]) == {"anna", "bernd"}
    assert document["conditions"]["telephone"]["value"] == 0.75
    assert document["calibration"]["abstention"]["curve"][-1][0] == 1.0
    assert document["pairs"]["margin"]["value"] == pytest.approx(2 / 6)
    assert json.loads(json.dumps(document)) == document


def test_a_resample_may_miss_a_speaker_without_spoiling_the_figures() -> None:
    """Two speakers who share no sentence: in some resamples one of them does not occur."""
    rows = [said("anna", k, k, sentence="a") for k in range(6)] + [said("bernd", k, 0, sentence="b") for k in range(6)]
    found = evaluated(in_views(rows, *VIEWS))
    json.dumps(found.to_json(), allow_nan=False)
    assert found.recall["anna"].low == found.recall["anna"].high == 1.0
