"""Every system that the trainer knows, by name: VCEMO's network and those it is compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from model.network import NetworkConfig, VcemoNetwork
from training.baselines.baseline import Baseline, BaselineConfig
from training.baselines.cme import Cme, CmeConfig
from training.baselines.mdre import Mdre, MdreConfig
from training.baselines.mha2 import Mha2, Mha2Config
from training.baselines.probe import Probe, ProbeConfig
from training.baselines.umons import Umons, UmonsConfig
from training.baselines.xu2019 import Xu2019, Xu2019Config

Network = VcemoNetwork | Baseline
"""What is trained: ``embed``, ``predict``, ``project`` and ``judged_alone`` are all that the trainer asks of it."""
SystemConfig = NetworkConfig | BaselineConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """One system: its configuration, what it builds, and its name in the literature."""

    title: str
    config: type[Any]
    network: Callable[[Any], Network]


SYSTEMS: Final[Mapping[str, System]] = {
    "vcemo": System(title="VCEMO", config=NetworkConfig, network=VcemoNetwork),
    "xu2019": System(title="Xu et al. 2019, learned alignment", config=Xu2019Config, network=Xu2019),
    "umons": System(title="Delbrouck et al. 2020, UMONS", config=UmonsConfig, network=Umons),
    "mha2": System(title="Yoon et al. 2019, MHA-2", config=Mha2Config, network=Mha2),
    "mdre": System(title="Yoon et al. 2018, MDRE", config=MdreConfig, network=Mdre),
    "cme": System(title="Li et al. 2020, CME", config=CmeConfig, network=Cme),
    "probe": System(title="linear probe", config=ProbeConfig, network=Probe),
}


def network_of(config: SystemConfig) -> Network:
    """Build the network that a configuration is of."""
    for system in SYSTEMS.values():
        if type(config) is system.config:
            return system.network(config)
    raise AssertionError(f"no system has a {type(config).__name__}")
