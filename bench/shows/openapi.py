"""A thousand drawn requests to each operation of the OpenAPI document, with every check of Schemathesis."""

import tempfile

from bench.figures import Figure, Report
from bench.serving.openapi import converse
from bench.serving.server import service_command, started
from bench.workbench import Workbench

_EXAMPLES = 1_000


def measure(workbench: Workbench) -> Report:
    """Draw, send and judge."""
    with tempfile.TemporaryDirectory() as folder:
        command = service_command(workbench.bundle, workbench.cache, "--state-folder", folder)
        with started("ours", command, ready_path="/health/ready") as server:
            found = converse(server.url, examples=_EXAMPLES)
    return Report(
        title=f"{_EXAMPLES} examples for each operation of the OpenAPI document",
        figures=[
            Figure(name="every check passed", value=float(found.is_clean), floor=1.0),
            Figure(name="requests sent", value=found.num_requests),
        ],
        remarks=[
            "operations without parameters have one request; bytes that are no recording may be refused",
            *([] if found.is_clean else [found.written]),
        ],
    )
