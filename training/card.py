"""The model card that travels in a bundle: what it was trained on, what it reaches, what it must not do."""

from collections.abc import Mapping, Sequence

from model.bundle import BundleFacts
from training.evaluation import Evaluation

_LIMITS = """\
## Limits

Research weights. The audio was acted by few people; spontaneous calls sound different, and no figure here
says how the model does on them. Emotion read from a voice is fallible: treat an answer as a hint to a
person, never as a finding about one. In the European Union, inferring emotions of people at work or in
education is prohibited but for medical or safety reasons (Regulation (EU) 2024/1689, Article 5(1)(f)), and
elsewhere people must be told. Some corpora allow non-commercial use only, which binds these weights too.
"""


def model_card(
    *, facts: BundleFacts, evaluation: Evaluation, corpora: Sequence[Mapping[str, str]], golden_licence: str
) -> str:
    """Return the card in Markdown; every figure is printed by ``python -m training evaluate``."""
    speech, sentence = facts.features.speech, facts.features.sentence
    lines = [
        f"# {facts.name} {facts.version}",
        "",
        "Emotion of a Mandarin utterance from its sound and its transcript: " + ", ".join(facts.labels) + ".",
        f"VCEMO network, preset `{facts.network['preset']}`, width {facts.network['width']}; speech recognition"
        f" `{speech.asset}` ({speech.compute_type}), sentence encoder `{sentence.name}`.",
        "",
        "## Figures",
        "",
        "`python -m training evaluate` prints them. One speaker of the corpus is left out at a time; no epoch is",
        "selected. The recipe, however, was preferred to the one before it for its recall on these same speakers, and",
        "the speech recogniser's settings were chosen by the error rate of its text on clips of every speaker: on",
        "speakers never looked at, expect a little less. Intervals resample sentences and do not cover other speakers.",
        "",
        f"| {evaluation.corpus}, speaker left out | unweighted average recall |",
        "|---|---|",
        *(f"| {speaker} | {interval} |" for speaker, interval in evaluation.recall.items()),
        f"| mean | {evaluation.mean_recall:.3f} |",
        f"| mean, sound only | {evaluation.mean_recall_sound_only:.3f} |",
        *_transcripts_only(evaluation.control_transcripts_only),
        f"| control: audio shuffled between clips (chance .167) | {evaluation.control_shuffled_audio:.3f} |",
        "",
        "Recall by emotion: " + ", ".join(f"{name} {v:.2f}" for name, v in evaluation.recall_by_emotion.items()) + ".",
        f"Calibration error {evaluation.calibration_error_before:.3f} before and"
        f" {evaluation.calibration_error_after:.3f} after temperature scaling across speakers;"
        f" the bundle ships temperature {evaluation.temperature:.2f}.",
    ]
    if evaluation.text_macro_f1 is not None:
        lines.append(f"Text alone, microblogs of the development part: macro F1 {evaluation.text_macro_f1:.3f}.")
    lines += ["", "## Training data", "", "| corpus | licence |", "|---|---|"]
    lines += [f"| {corpus['title']} | {corpus['licence']} |" for corpus in corpora]
    lines += ["", f"`golden.wav` proves a loaded bundle from audio: {golden_licence}", "", _LIMITS]
    return "\n".join(lines)


def _transcripts_only(recall: float | None) -> list[str]:
    return [] if recall is None else [f"| control: transcripts only (chance .167) | {recall:.3f} |"]
