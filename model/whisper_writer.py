"""Whisper's decoder for one language: encoder states in, text and how far to trust it out."""

from dataclasses import dataclass
from typing import Final

import ctranslate2
from tokenizers import Tokenizer

from model.errors import AssetInvalid
from model.whisper_vocabulary import Vocabulary

_FIRST_SPECIAL: Final = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What the decoder made of one utterance."""

    text: str
    language: str
    avg_logprob: float
    no_speech_probability: float
    num_tokens: int


class WhisperWriter:
    """Writes down one language with one fixed prompt; safe to call from several threads.

    vocabulary: which of the tokenizer's tokens ``whisper`` knows.
    """

    def __init__(
        self, whisper: ctranslate2.models.Whisper, tokenizer: Tokenizer, *, vocabulary: Vocabulary, language: str
    ) -> None:
        self.language = language
        self._whisper = whisper
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._first_special = first_special(tokenizer)
        # With time marks: without them Whisper leaves out whole sentences after a pause.
        prompt = ("<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>")
        self._prompt = [vocabulary.inner(_token_id(tokenizer, token)) for token in prompt]

    def write(self, encoded: ctranslate2.StorageView, *, beam_size: int, max_tokens: int) -> list[Written]:
        """Decode encoder states (batch, states, d_model)."""
        results = self._whisper.generate(
            encoded,
            [self._prompt] * encoded.shape[0],
            beam_size=beam_size,
            max_length=len(self._prompt) + max_tokens,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [
            Written(
                text=self._text_of(ids),
                language=self.language,
                # CTranslate2 divides by the tokens without the end; faster-whisper counts the end as well.
                avg_logprob=float(result.scores[0]) * len(ids) / (len(ids) + 1),
                no_speech_probability=float(result.no_speech_prob),
                num_tokens=len(ids),
            )
            for result in results
            for ids in (result.sequences_ids[0],)
        ]

    def _text_of(self, ids: list[int]) -> str:
        written = [token for token in self._vocabulary.outer(ids) if token < self._first_special]
        # Cut off at its last token, a text can end within a character.
        return str(self._tokenizer.decode(written)).strip("\ufffd ")


def first_special(tokenizer: Tokenizer) -> int:
    """Return the number of the first token that is no text.

    Raises:
        AssetInvalid: the tokenizer is not Whisper's.
    """
    return _token_id(tokenizer, _FIRST_SPECIAL)


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    index = tokenizer.token_to_id(token)
    if index is None:
        raise AssetInvalid(f"the tokenizer has no token {token}", value=token)
    return int(index)
