"""Our service beside a plain one, with faster-whisper's defaults and greedy: ``python -m bench compare`` as it is."""

from bench.figures import Report
from bench.serving.compare import ComparePlan, compare
from bench.workbench import Workbench


def measure(workbench: Workbench) -> Report:
    """Compare with the plan's defaults."""
    return compare(ComparePlan(), workbench)
