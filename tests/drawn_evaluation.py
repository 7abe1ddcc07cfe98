"""An evaluation with every figure it can have, each of them another number: what cards and tables are tested with."""

from model.labels import EMOTIONS
from training.abstention import Abstention
from training.evaluation import Calibration, Calls, Evaluation, Pairs
from training.metrics import Interval


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.03, high=value + 0.03)


EVALUATION = Evaluation(
    corpus="casia",
    emotions=EMOTIONS,
    seeds=(0, 1, 2),
    clips=900,
    recall={"zhaoquanyin": interval(0.604), "wangzhe": interval(0.510)},
    mean_recall=interval(0.557),
    mean_recall_sound_only=0.541,
    control_transcripts_only=0.164,
    control_shuffled_audio=0.171,
    macro_f1=0.53,
    recall_by_emotion=dict(zip(EMOTIONS, (0.911, 0.451, 0.601, 0.702, 0.323, 0.801), strict=True)),
    confusion=[[1]],
    calls=Calls(
        recall={"zhaoquanyin": interval(0.661), "wangzhe": interval(0.652)},
        mean_recall=interval(0.656),
        neutral_mean_recall=interval(0.633),
        neutral_mean_recall_alone=interval(0.587),
    ),
    conditions={"telephone": interval(0.549), "background_10db": interval(0.482)},
    calibration=Calibration(
        temperature=1.234,
        error_before=0.211,
        error_after=0.054,
        negative_log_likelihood_after=1.1,
        abstention=Abstention(
            threshold=0.476,
            accuracy=0.558,
            accuracy_when_confident=0.669,
            curve=[(0.5, 0.222), (0.7, 0.331), (1.0, 0.442)],
        ),
    ),
    pairs=Pairs(
        recall=0.781,
        recall_sound_only=0.542,
        recall_text_only=0.672,
        margin=Interval(value=-0.109, low=-0.145, high=-0.073),
        confidence_agreeing=0.714,
        confidence_disagreeing=0.523,
    ),
    text_macro_f1={"ewect_dev": 0.612, "ewect_tenth": 0.638},
)
