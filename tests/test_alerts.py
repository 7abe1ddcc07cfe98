from pathlib import Path
from typing import Any

import pytest

from model.errors import AlertRulesInvalid
from service.alerts import AlertRule, AlertWatch, alerts_of, read_alert_file
from service.schemas import Segment, Sentiment

OTHERS = ("fear", "happy", "neutral", "sad", "surprise")


def utterance(start_ms: int, angry: float, **changes: Any) -> Segment:
    """Two seconds of the customer, angry by so much, the rest neutral."""
    shares = dict.fromkeys(OTHERS, 0.0) | {"angry": angry, "neutral": 1 - angry}
    emotion = max(shares, key=shares.__getitem__)
    fields = {
        "id": f"1-{start_ms}",
        "start_ms": start_ms,
        "end_ms": start_ms + 2000,
        "channel": 1,
        "role": "customer",
        "text": "…",
        "status": "ok",
        "judged": True,
        "emotion": emotion,
        "confidence": shares[emotion],
        "probabilities": shares,
        "sentiment": Sentiment.of(shares),
    }
    return Segment.model_validate(fields | changes)


ANGRY = AlertRule(
    name="angry", role="customer", emotion="angry", above=0.7, count=2, of=3, cooldown_seconds=10, severity="critical"
)


def test_an_alert_is_raised_by_the_utterance_that_completes_it() -> None:
    watch = AlertWatch([ANGRY])
    assert watch.see(utterance(0, 0.9)) == []
    assert watch.see(utterance(3000, 0.1)) == []
    (alert,) = watch.see(utterance(6000, 0.8))
    assert (alert.id, alert.rule, alert.severity, alert.at_ms) == ("angry-1-6000", "angry", "critical", 8000)
    assert alert.segment_ids == ["1-0", "1-6000"]
    assert alert.message == "customer: angry at 0.7 or more in 2 of the last 3 utterances"


def test_what_is_too_long_ago_does_not_count() -> None:
    watch = AlertWatch([ANGRY])
    shares = (0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.9)
    assert [alert for place, share in enumerate(shares) for alert in watch.see(utterance(place * 3000, share))] == []


def test_an_alert_is_not_raised_again_before_its_cooldown_is_over() -> None:
    watch = AlertWatch([ANGRY])
    raised = [start for start in range(0, 30_000, 3000) if watch.see(utterance(start, 0.9))]
    assert raised == [3000, 15_000, 27_000]


@pytest.mark.parametrize(
    "changes",
    [{"role": "agent"}, {"judged": False}, {"status": "no_speech"}, {"probabilities": None, "emotion": None}],
    ids=["another role", "not judged", "no speech", "no label"],
)
def test_an_utterance_that_no_rule_may_look_at_raises_nothing(changes: dict[str, Any]) -> None:
    watch = AlertWatch([ANGRY])
    assert not watch.see(utterance(0, 0.9, **changes)) + watch.see(utterance(3000, 0.9, **changes))


def test_sides_are_followed_apart() -> None:
    rule = AlertRule(name="low", sentiment_below=-0.5, count=2, of=2)
    turns = [utterance(start, 0.9, channel=start // 3000 % 2, id=f"{start // 3000 % 2}-{start}") for start in (0, 3000)]
    assert alerts_of([rule], turns) == []
    turns.append(utterance(6000, 0.9, channel=0, id="0-6000"))
    assert [alert.segment_ids for alert in alerts_of([rule], turns)] == [["0-0", "0-6000"]]


def written(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_rules_and_webhooks_is_read(tmp_path: Path) -> None:
    text = """
    [[rule]]
    name = "angry"
    emotion = "angry"
    above = 0.7
    count = 2
    of = 3
    cooldown_seconds = 30

    [[rule]]
    name = "low"
    sentiment_below = -0.6

    [[webhook]]
    url = "https://alerts.example/hook"
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    rules = ["angry"]
    """
    found = read_alert_file(written(tmp_path, text))
    assert [(rule.name, rule.count, rule.of, rule.cooldown_seconds) for rule in found.rules] == [
        ("angry", 2, 3, 30.0),
        ("low", 1, 1, 60.0),
    ]
    assert [webhook.rules for webhook in found.webhooks] == [("angry",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]\nname = 1", "not TOML at line 1"),
        ("[[rules]]\n", "'rules'"),
        ("[rule]\nname = 'x'\n", r"\[\[rule\]\]"),
        ("[[rule]]\nname = 'x'\n", "one of emotion and sentiment_below"),
        ("[[rule]]\nname = 'x'\nemotion = 'furious'\n", "rule 1: emotion"),
        ("[[rule]]\nname = 'x'\nemotion = 'angry'\nabvoe = 0.7\n", "abvoe"),
        ("[[rule]]\nname = 'x'\nemotion = 'angry'\ncount = 3\nof = 2\n", r"count \(3\) must not exceed of \(2\)"),
        ("[[rule]]\nname = 'x'\nemotion = 'sad'\n" * 2, "two rules have the same name"),
        ("[[webhook]]\nurl = 'https://a.example'\n", "one of secret"),
        ("[[webhook]]\nurl = 'https://a.example'\nsecret = 'hunter2hunter2hunter2'\n", "webhook 1: secret"),
        (
            "[[webhook]]\nurl = 'https://a.example'\nsecret_file = 'x'\nrules = ['none']\n",
            "names the rule 'none', which there is not",
        ),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AlertRulesInvalid, match=message) as refused:
        read_alert_file(written(tmp_path, text))
    assert "hunter2" not in refused.value.message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlertRulesInvalid, match="cannot be read: No such file"):
        read_alert_file(tmp_path / "none.toml")
