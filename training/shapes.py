"""What each module of the network takes, gives and weighs, for one collated batch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torchinfo
from rich.table import Table
from torch import Tensor, nn
from torchinfo.layer_info import LayerInfo

from model.network import VcemoNetwork
from training.inference import as_tensors
from training.systems import Network


class _PredictingAndProjecting(nn.Module):
    """The network as training runs it; its ``forward`` alone would leave the projector out."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.network.embed(**inputs)
        return self.network.predict(embedded), self.network.project(embedded)


def module_shapes(network: Network, batch_inputs: Mapping[str, npt.NDArray[Any]], *, depth: int = 2) -> Table:
    """Return a table of the modules that have parameters, down to ``depth``, in the order of their definition.

    Shapes of a module that only holds others are those of its first and its last one to run. A module that the
    configuration leaves out of the computation has none. batch_inputs: see :func:`training.collation.collate_inputs`.
    """
    device = next(network.parameters()).device
    found = torchinfo.summary(
        _PredictingAndProjecting(network), input_data=as_tensors(batch_inputs, device=device), depth=99, verbose=0
    )
    ran = [layer for layer in found.summary_list if layer.executed]
    table = Table("module", "kind", "input", "output", title=f"{count_parameters(network):,} parameters to train")
    table.add_column("parameters", justify="right")
    table.add_column("trained", justify="right")
    for name, module in network.named_modules():
        parameters = sum(parameter.numel() for parameter in module.parameters())
        level = name.count(".") + 1 if name else 0
        if not 0 < level <= depth or not parameters:
            continue
        first, last = _shapes(module, ran)
        table.add_row(name, type(module).__name__, first, last, f"{parameters:,}", f"{count_parameters(module):,}")
    if isinstance(network, VcemoNetwork):
        table.add_row("absent", "Parameter", "", _written(network.absent.shape), *[f"{network.absent.numel():,}"] * 2)
    return table


def count_parameters(network: nn.Module) -> int:
    """Count what training changes; a frozen encoder does not count."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def _shapes(module: nn.Module, ran: Sequence[LayerInfo]) -> tuple[str, str]:
    """Return the shape of what ``module`` reads and of what it gives."""
    own = [layer for layer in ran if layer.module is module]
    inside = {id(each) for each in module.modules()}
    layers = own or [layer for layer in ran if layer.layer_id in inside and layer.is_leaf_layer]
    return (_written(layers[0].input_size), _written(layers[-1].output_size)) if layers else ("", "")


def _written(shape: Iterable[int]) -> str:
    return " x ".join(str(size) for size in shape)
