from training.augmentation import Change
from training.experiment import Experiment
from training.gathering import _changes


def test_an_operation_that_is_named_again_is_drawn_again() -> None:
    experiment = Experiment(augmentation=("noise", "pitch", "noise"))
    assert _changes(experiment) == [Change("noise"), Change("pitch"), Change("noise", seed=1)]


def test_copies_are_of_utterances_unless_whole_recordings_are_asked_for() -> None:
    experiment = Experiment(augmentation=("telephone",), copies_of="recording")
    assert _changes(experiment) == [Change("telephone", of="recording")]
