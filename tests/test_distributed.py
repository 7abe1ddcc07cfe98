"""Two processes on one batch, started as a user would start them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from bench.shows.distributed import TORCHRUN, write_gradients
from training.distributed import Ranks


@given(st.integers(min_value=0, max_value=50), st.integers(min_value=1, max_value=8))
def test_the_rows_of_a_batch_are_shared_evenly_and_all(rows: int, world: int) -> None:
    slices = [Ranks(rank=rank, world=world).share(rows) for rank in range(world)]
    assert [row for part in slices for row in range(rows)[part]] == list(range(rows))
    sizes = [part.stop - part.start for part in slices]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == Ranks(world=world).shares(rows)


def test_alone_nothing_is_sent() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert Ranks().gather(rows, [3]) is rows
    assert Ranks().any(flag=True, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Gradients found by one process, and by two."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    write_gradients(alone)
    write_gradients(together, *TORCHRUN)
    return alone, together


@pytest.mark.parametrize("contrast", ["in_batch", "queue_and_two_passes"])
def test_two_processes_give_the_gradients_of_one(folders: tuple[Path, Path], contrast: str) -> None:
    """Contrast crosses the processes: a sample's positives may lie in the other one's rows."""
    alone, together = (load_file(folder / f"{contrast}.safetensors") for folder in folders)
    assert alone.keys() == together.keys()
    assert max(float(gradient.abs().max()) for gradient in alone.values()) > 0.01
    for name, gradient in alone.items():
        torch.testing.assert_close(together[name], gradient, atol=1e-5, rtol=0)
