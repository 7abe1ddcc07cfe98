"""Texts as a recogniser might have written them: no punctuation, homophones in place of the right words, cut off."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from pypinyin import lazy_pinyin

from model.script import simplified

MAX_REPLACED_SHARE: Final = 0.15
CUT_PROBABILITY: Final = 0.5
MIN_LENGTH_SHARE: Final = 0.5

_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")
_UNWRITTEN: Final = re.compile(r"[^\u4e00-\u9fff0-9]")


class Homophones:
    """The characters of some texts by their sound, without its tone: a recogniser rarely errs beyond that."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(character for text in texts for character in _CHINESE.findall(simplified(text)))
        by_sound: dict[str, list[str]] = defaultdict(list)
        for character in sorted(counts):
            by_sound[lazy_pinyin(character)[0]].append(character)
        self._counts = counts
        self._alike = {character: alike for alike in by_sound.values() for character in alike}
        rules = [MAX_REPLACED_SHARE, CUT_PROBABILITY, MIN_LENGTH_SHARE]
        table = [[sound, [[one, counts[one]] for one in alike]] for sound, alike in sorted(by_sound.items())]
        self.digest: Final = hashlib.sha256(json.dumps([rules, table]).encode()).hexdigest()
        """Of all that decides, beside the random numbers, what a text is misheard as."""

    def drawn(self, character: str, generator: np.random.Generator) -> str:
        """Return another character of the same sound, the more often the more frequent it is; itself without one."""
        others = [other for other in self._alike.get(character, ()) if other != character]
        if not others:
            return character
        weights = np.array([self._counts[other] for other in others], dtype=np.float64)
        return others[generator.choice(len(others), p=weights / weights.sum())]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mishearing:
    """What :class:`training.augmentation.Change` is to sound: the texts of a corpus misheard as ``seed`` draws it."""

    operation: ClassVar[Literal["misheard"]] = "misheard"
    of: ClassVar[Literal["text"]] = "text"
    homophones: Homophones
    seed: int = 0


def misheard(text: str, *, homophones: Homophones, generator: np.random.Generator) -> str:
    """Return what a recogniser might have written of somebody who says ``text``.

    Of the text only simplified Chinese characters and digits are left; it is empty where no Chinese is in it.
    """
    if not _CHINESE.search(text):
        return ""
    share = generator.uniform(0, MAX_REPLACED_SHARE)
    heard = [
        homophones.drawn(character, generator) if generator.random() < share else character
        for character in _UNWRITTEN.sub("", simplified(text))
    ]
    if generator.random() < CUT_PROBABILITY:
        heard = heard[: max(1, round(len(heard) * generator.uniform(MIN_LENGTH_SHARE, 1)))]
    return "".join(heard)
