"""What a training clip's speaker was heard saying before, drawn anew each time: no two calls begin alike."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from model.speaker import SpeakerStatistics
from training.feature_cache import Example

MOST_CLIPS: Final = 40
_EVENNESS_OF_EMOTIONS: Final = 0.5
"""Of the Dirichlet that the share of each emotion is drawn from: some calls are neutral almost throughout."""


class Acquaintance:
    """Draws what might have been heard of a speaker, from the clips of the training part."""

    def __init__(self, clips: Sequence[Example]) -> None:
        # Copies of one kind are one line, or one room: they are heard together.
        self._by_emotion: dict[tuple[str, ...], dict[str, list[SpeakerStatistics]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._own: dict[int, SpeakerStatistics] = {}
        for clip in clips:
            mel, states = clip.features.mel, clip.features.states
            if mel is not None and states is not None:
                own = SpeakerStatistics.of(mel=mel, states=states)
                self._own[id(clip)] = own
                self._by_emotion[_call(clip)][clip.clip.emotion or ""].append(own)

    def drawn(self, clip: Example, generator: np.random.Generator) -> SpeakerStatistics:
        """Draw the statistics of a clip of the training part, after fewer than :data:`MOST_CLIPS` of its speaker."""
        by_emotion = self._by_emotion[_call(clip)]
        emotions = list(by_emotion)
        number = int(math.exp(generator.uniform(0.0, math.log(MOST_CLIPS + 1)))) - 1
        shares = generator.dirichlet([_EVENNESS_OF_EMOTIONS] * len(emotions))
        statistics = self._own[id(clip)]
        for emotion in generator.choice(len(emotions), number, p=shares):
            known = by_emotion[emotions[emotion]]
            statistics = statistics + known[generator.integers(len(known))]
        return statistics


def _call(clip: Example) -> tuple[str, ...]:
    # Who has no name is a stranger to everybody.
    return clip.clip.corpus, clip.clip.speaker or f"of {clip.clip.key}", clip.variant
