"""Answers as the documentation shows them; a test holds them to the schema."""

from typing import Any, Final

_PROBABILITIES: Final = {
    "angry": 0.8127,
    "fear": 0.0214,
    "happy": 0.0183,
    "neutral": 0.0712,
    "sad": 0.0319,
    "surprise": 0.0445,
}

PREDICT_ANSWER: Final[dict[str, Any]] = {
    "schema_version": "1",
    "request_id": "3f1c9a52e0b84d0c8a7be1f2c9d04a11",
    "model": {"name": "vcemo-whisper-zh", "version": "1.0.0", "asr": "whisper-base"},
    "emotion": "angry",
    "confidence": 0.8127,
    "probabilities": _PROBABILITIES,
    "sentiment": {"label": "negative", "score": -0.8477},
    "transcript": {
        "text": "我已经打了三次电话,到现在还没有人处理",
        "language": "zh",
        "status": "ok",
        "avg_logprob": -0.3121,
        "no_speech_probability": 0.0173,
    },
    "audio": {"duration_ms": 4180, "sample_rate_hz": 8000, "channels": 1, "speech_ms": 3720, "clipped": False},
    "segments": [
        {
            "id": "0-212",
            "start_ms": 212,
            "end_ms": 3932,
            "channel": 0,
            "role": None,
            "text": "我已经打了三次电话,到现在还没有人处理",
            "status": "ok",
            "judged": True,
            "emotion": "angry",
            "confidence": 0.8127,
            "probabilities": _PROBABILITIES,
            "sentiment": {"label": "negative", "score": -0.8477},
        }
    ],
    "summary": {
        "duration_ms": 4180,
        "speech_ms": 3720,
        "silence_ms": 460,
        "overlap_ms": 0,
        "roles": [
            {
                "channel": 0,
                "role": None,
                "judged": True,
                "utterances": 1,
                "talk_ms": 3720,
                "talk_share": 1.0,
                "emotions": _PROBABILITIES,
                "sentiment": {"label": "negative", "score": -0.8477},
                "sentiment_by_quarter": [-0.8477, -0.8477, -0.8477, -0.8477],
                "shift": 0.0,
                "strongest": [
                    {
                        "segment_id": "0-212",
                        "start_ms": 212,
                        "end_ms": 3932,
                        "emotion": "angry",
                        "confidence": 0.8127,
                    }
                ],
                "interruptions": [],
                "longest_turn_ms": 3720,
            }
        ],
    },
    "alerts": [],
    "warnings": [],
    "timings_ms": {"decode": 1, "vad": 6, "asr": 143, "features": 11, "fusion": 4, "queue": 2, "total": 167},
}
