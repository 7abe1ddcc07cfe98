"""Examples of the label-paired corpus: the sound of one corpus with the words of another, features and all."""

from collections import defaultdict
from typing import Any

from training.corpora.catalog import paired_corpus
from training.corpora.paired import PAIRED, SOUNDS, TEXTS
from training.extraction import Extraction
from training.feature_cache import Example


def recalled(extraction: Extraction, corpus: str, **options: Any) -> list[Example]:
    """Return the examples of any corpus, the label-paired one included; options as :meth:`Extraction.examples`.

    Raises:
        CorpusError: the corpus, or one that it is made of, is missing or malformed.
    """
    if corpus != PAIRED:
        return extraction.examples(corpus, **options)
    # The words are the posts', whatever was asked for.
    options = {name: value for name, value in options.items() if name in ("progress", "change")}
    sounds: dict[str, list[Example]] = defaultdict(list)
    for name in SOUNDS:
        for example in extraction.examples(name, **options):
            sounds[example.clip.key].append(example)
    pairs = paired_corpus(extraction.data)
    # Of the posts that were given out, and not of all there are.
    posts = extraction.examples_of(TEXTS, [pair.text for pair in pairs], progress=options.get("progress"))
    texts = {example.clip.key: example for example in posts}
    return [
        Example(
            clip=pair.clip,
            features=sound.features.with_text_of(texts[pair.text.key].features),
            seconds=sound.seconds,
            transcript=texts[pair.text.key].transcript,
            transcript_status=PAIRED,
            variant=sound.variant,
        )
        for pair in pairs
        for sound in sounds[pair.sound.key]
        if pair.text.key in texts
    ]
