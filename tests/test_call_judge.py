"""The utterances of a live call: told of in order, whatever fails over one of them."""

import asyncio
from collections.abc import Sequence

import pytest
from service_fixtures import samples_of

from model.features import Array, Features
from model.recognizer import EmotionRecognizer, JudgedUtterance
from model.segment import Utterance
from service.call_judge import CallJudge
from service.decoding import Decoder
from service.pipeline import Pipeline
from service.settings import Settings

pytest_plugins = ("service_fixtures",)


def test_an_utterance_that_the_network_fails_over_is_told_of_without_an_emotion_and_the_next_one_with(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of("leave_a_message.wav")[: 2 * 16_000]
    utterances = [Utterance(samples=samples, channel=0, start_ms=start, end_ms=start + 2000) for start in (0, 5000)]
    classify, fails = recognizer.classify, iter((True, False))

    def fails_once(batch: Sequence[Features]) -> list[Array]:
        if next(fails):
            raise RuntimeError("not this one")
        return classify(batch)

    monkeypatch.setattr(recognizer, "classify", fails_once)
    settings = Settings()
    decoder = Decoder.from_settings(settings)
    pipeline = Pipeline(recognizer, decoder=decoder, settings=settings, threads=2)
    told: list[JudgedUtterance] = []

    async def tell(judged: JudgedUtterance, _: float) -> None:
        told.append(judged)

    async def scenario() -> None:
        judge = CallJudge(pipeline, may_judge=[True], budget_seconds=30.0, tell=tell)
        for utterance in utterances:
            judge.expect(utterance, None)
        await judge.done()
        await judge.close()

    try:
        asyncio.run(scenario())
    finally:
        pipeline.close()
        decoder.close()
    assert [one.utterance.start_ms for one in told] == [0, 5000]
    assert [one.probabilities is None for one in told] == [True, False]
    assert told[0].transcript.text == told[1].transcript.text
