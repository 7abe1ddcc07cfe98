"""What a network is shown of the clips that were left out: alone, within calls, on a bad line, with other words."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from model.speaker import Conversation
from training.dataset import label_of
from training.feature_cache import Example, without_sound, without_text

ALONE: Final = "both"
"""Sound and transcript of each clip by itself, as served."""
SOUND, TEXT, SHUFFLED = "sound", "text", "shuffled"
CALL, NEUTRAL_CALL = "call", "neutral call"
"""The clips of a speaker in a random order, each judged with what was heard before: all, or 80 % neutral ones."""
PAIR, PAIR_TEXT, CLASH = "pair", "pair text", "clash"
"""The sound of a clip with a text of the same emotion, that text alone, and with a text of another emotion."""
CONDITION: Final = "condition"
POSTS: Final = "posts"

ORDERS: Final = 20
NEUTRAL_SHARE: Final = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """What a fold's network is judged on.

    clips: the test part. conditions: its clips again as a phone or a street would have them, by name. texts: labelled
    texts by corpus, none of them trained on; the first are paired with the clips.
    """

    clips: Sequence[Example]
    conditions: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[Example]] = field(default_factory=dict)


def views(left_out: LeftOut, *, orders: int = ORDERS) -> Iterator[tuple[str, Sequence[Example]]]:
    """Yield the name of each view, and what the network is shown."""
    clips = left_out.clips
    yield ALONE, clips
    yield SOUND, [without_text(clip) for clip in clips]
    yield TEXT, [without_sound(clip) for clip in clips if clip.features.sentence is not None]
    yield SHUFFLED, shuffled_audio(clips)
    for order in range(orders):
        yield f"{CALL} {order}", calls(clips, order=order)
        if any(label_of(clip) == "neutral" for clip in clips):
            yield f"{NEUTRAL_CALL} {order}", calls(clips, order=order, neutral_share=NEUTRAL_SHARE)
    for name, changed in left_out.conditions.items():
        yield f"{CONDITION} {name}", changed
    for name, texts in left_out.texts.items():
        yield f"{POSTS} {name}", texts
    for texts in list(left_out.texts.values())[:1]:
        agreeing = with_texts(clips, texts, agree=True)
        yield PAIR, agreeing
        yield PAIR_TEXT, [without_sound(clip) for clip in agreeing]
        yield CLASH, with_texts(clips, texts, agree=False)


def num_views(left_out: LeftOut, *, orders: int = ORDERS) -> int:
    """Return how many :func:`views` yields."""
    has_neutral = any(label_of(clip) == "neutral" for clip in left_out.clips)
    num_posts = len(left_out.texts)
    return 4 + orders * (2 if has_neutral else 1) + len(left_out.conditions) + num_posts + (3 if num_posts else 0)


def calls(examples: Sequence[Example], *, order: int, neutral_share: float | None = None) -> list[Example]:
    """Put the clips of each speaker into the ``order``-th random order, with what was heard of the speaker by then.

    neutral_share: keep all neutral clips, and of the others, drawn anew, only as many as leave them this share.
    """
    by_speaker: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_speaker[example.clip.speaker or f"of {example.clip.key}"].append(example)
    generator = np.random.default_rng([order, 0 if neutral_share is None else 1])
    heard: list[Example] = []
    for _, own in sorted(by_speaker.items()):
        turns = [own[index] for index in generator.permutation(len(own))]
        if neutral_share is not None:
            turns = _mostly_neutral(turns, neutral_share)
        conversation = Conversation()
        for turn in turns:
            mel, states = turn.features.mel, turn.features.states
            assert mel is not None
            assert states is not None
            statistics = conversation.hear(0, mel=mel, states=states)
            heard.append(replace(turn, features=replace(turn.features, speaker=statistics)))
    return heard


def shuffled_audio(examples: Sequence[Example], *, seed: int = 0) -> list[Example]:
    """Give every example the sound of another; text and label stay."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [
        replace(
            example,
            features=replace(example.features, mel=examples[k].features.mel, states=examples[k].features.states),
        )
        for example, k in zip(examples, order, strict=True)
    ]


def with_texts(clips: Sequence[Example], texts: Sequence[Example], *, agree: bool, seed: int = 0) -> list[Example]:
    """Give every clip the words of a text with its own emotion, or of one with any other; the clip's label stays."""
    generator = np.random.default_rng([seed, int(agree)])
    emotions = sorted({label_of(text) for text in texts})
    by_emotion = {emotion: [text for text in texts if label_of(text) == emotion] for emotion in emotions}
    paired: list[Example] = []
    for clip in clips:
        offered = [emotion for emotion in emotions if (emotion == label_of(clip)) == agree]
        if not offered:
            continue
        some = by_emotion[offered[generator.integers(len(offered))]]
        text = some[generator.integers(len(some))].features
        paired.append(replace(clip, features=clip.features.with_text_of(text)))
    return paired


def _mostly_neutral(turns: Sequence[Example], share: float) -> list[Example]:
    num_neutral = sum(label_of(turn) == "neutral" for turn in turns)
    others_left = round(num_neutral * (1 - share) / share)
    kept: list[Example] = []
    for turn in turns:
        if label_of(turn) != "neutral":
            if others_left == 0:
                continue
            others_left -= 1
        kept.append(turn)
    return kept
