"""Several processes on one batch: each takes a share of the rows, the loss is that of the whole (``torchrun``)."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def shares(self, rows: int) -> list[int]:
        """Rows of a batch for each process, as even as can be."""
        return [rows // self.world + (rank < rows % self.world) for rank in range(self.world)]

    def share(self, rows: int) -> slice:
        """This process's rows."""
        start = sum(self.shares(rows)[: self.rank])
        return slice(start, start + self.shares(rows)[self.rank])

    def gather(self, mine: Tensor, shares: Sequence[int]) -> Tensor:
        """Join the rows of every process, (sum of shares, ...); gradients flow back to where rows came from.

        The loss of the joined rows is computed by every process, so that each one's gradient is ``world`` times
        its part of the whole; the mean that DistributedDataParallel takes makes it exactly the whole.
        """
        if self.world == 1:
            return mine
        room = max(shares) - len(mine)
        padded = torch.cat([mine, mine.new_zeros(room, *mine.shape[1:])])
        gathered: tuple[Tensor, ...] = _AllGather.apply(padded)  # type: ignore[no-untyped-call]
        return torch.cat([rows[:count] for rows, count in zip(gathered, shares, strict=True)])

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is up in any process."""
        if self.world == 1:
            return flag
        up = torch.tensor(int(flag), device=device)
        dist.all_reduce(up, op=dist.ReduceOp.MAX)
        return bool(up)


class _AllGather(torch.autograd.Function):
    """Gather one tensor of every process; the backward pass adds up what every process says of ours."""

    @staticmethod
    def forward(context: Any, mine: Tensor) -> tuple[Tensor, ...]:
        gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, mine.contiguous())
        return tuple(gathered)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        stacked = torch.stack(gradients)
        dist.all_reduce(stacked)
        return stacked[dist.get_rank()]


@contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """Join the group that ``torchrun`` started, or be alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(rank=dist.get_rank(), world=world)
    finally:
        dist.destroy_process_group()
