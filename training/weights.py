"""A network's weights as a file."""

from pathlib import Path

from safetensors.torch import load_file, save

from model.network import NetworkConfig, VcemoNetwork


def save_network(network: VcemoNetwork, path: Path) -> None:
    """Write the weights, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    # Its save_file would let nobody but the owner read the weights; the service runs as somebody else.
    temporary.write_bytes(save(network.state_dict()))
    temporary.replace(path)


def load_network(path: Path, *, config: NetworkConfig) -> VcemoNetwork:
    """Read what :func:`save_network` wrote."""
    network = VcemoNetwork(config)
    network.load_state_dict(load_file(path))
    return network.eval()
