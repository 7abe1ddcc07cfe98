"""A run's whole state in one safetensors file: tensors, and the rest as JSON in its header. No pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from model.errors import CheckpointInvalid

_VERSION: Final = "1"


def save_checkpoint(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    facts: Mapping[str, Any],
    tensors: Mapping[str, Tensor] = {},
) -> None:
    """Write everything that the rest of a run depends on, whole or not at all.

    modules: by name, all their parameters and buffers. facts: what JSON can hold. Random states are included.
    """
    state = optimiser.state_dict()
    content = {
        f"module/{name}/{key}": tensor
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }
    content |= {
        f"optimiser/{index}/{key}": torch.as_tensor(value)
        for index, entry in state["state"].items()
        for key, value in entry.items()
    }
    content |= {f"random/{name}": tensor for name, tensor in _random_states().items()}
    content |= {f"tensor/{name}": tensor for name, tensor in tensors.items()}
    header = {"version": _VERSION, "groups": state["param_groups"], "facts": dict(facts)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    # Cloned: safetensors refuses tensors that share memory.
    cloned = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in content.items()}
    temporary.write_bytes(save(cloned, metadata={"state": json.dumps(header)}))
    temporary.replace(path)


def load_checkpoint(
    path: Path, *, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Restore what :func:`save_checkpoint` wrote; return its facts and tensors.

    Raises:
        CheckpointInvalid: the file is no checkpoint of this run's modules.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["state"])
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        for name, module in modules.items():
            module.load_state_dict(_below(content, f"module/{name}/"))
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointInvalid(f"{path} is no checkpoint of this run: {error}", value=str(path)) from error
    entries: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _below(content, "optimiser/").items():
        index, _, name = key.partition("/")
        entries.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": entries, "param_groups": header["groups"]})
    _restore_random_states(_below(content, "random/"))
    return header["facts"], _below(content, "tensor/")


def _below(content: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in content.items() if name.startswith(prefix)}


def _random_states() -> dict[str, Tensor]:
    states = {"torch": torch.get_rng_state()}
    for index, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []):
        states[f"cuda{index}"] = state
    return states


def _restore_random_states(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["torch"])
    on_gpus = [states[name] for name in sorted(states) if name.startswith("cuda")]
    if on_gpus and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(on_gpus)
