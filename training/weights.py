"""A network's weights as a file."""

from pathlib import Path

from safetensors.torch import load_file, save

from training.systems import Network, SystemConfig, network_of


def save_network(network: Network, path: Path) -> None:
    """Write the weights, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    # Its save_file would let nobody but the owner read the weights; the service runs as somebody else.
    temporary.write_bytes(save(network.state_dict()))
    temporary.replace(path)


def load_network(path: Path, *, config: SystemConfig) -> Network:
    """Read what :func:`save_network` wrote, of the system that ``config`` is of."""
    network = network_of(config)
    network.load_state_dict(load_file(path))
    return network.eval()
