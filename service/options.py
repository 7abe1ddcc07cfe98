"""What a request may ask for beside its recording: as query parameters, or as fields of its form."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from model.errors import InvalidOption
from service.roles import Roles
from service.settings import ROLES_PATTERN, Settings

ROLES: Final = "channel_roles"
ADAPT: Final = "adapt"

_ADAPT: Final[Mapping[str, bool]] = {"true": True, "false": False}
_SHOWN_CHARACTERS: Final = 80

DESCRIBED: Final[Mapping[str, dict[str, Any]]] = {
    ROLES: {
        "schema": {"type": "string", "pattern": f"^{ROLES_PATTERN}$"},
        "description": "Who speaks on each channel, in order, such as agent,customer; in place of what is configured.",
    },
    ADAPT: {
        "schema": {"type": "string", "enum": [*_ADAPT]},
        "description": "Whether each utterance is judged beside what was heard before of the speaker of its channel. "
        "Left out: yes where there are several channels, or the role of the only one is known.",
    },
}
"""For OpenAPI."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a recording is to be heard. adapt: None leaves it to what is known of the channels."""

    roles: Roles = Roles()
    adapt: bool | None = None

    def adapts(self, num_channels: int) -> bool:
        """Whether each channel is taken for one speaker, whose utterances are judged beside each other.

        A single channel whose role nobody named may carry a whole conversation, and several voices would mix.
        """
        if self.adapt is not None:
            return self.adapt
        return num_channels > 1 or self.roles.of_channels(num_channels)[0] is not None


def options_of(settings: Settings, *given: Mapping[str, str]) -> Options:
    """Read the options of a request; of several places the first that names one counts.

    Raises:
        InvalidOption: one has a value that it cannot have.
    """
    found = {name: value for place in reversed(given) for name, value in place.items() if name in DESCRIBED}
    roles, adapt = found.get(ROLES), found.get(ADAPT)
    if roles is not None and not re.fullmatch(ROLES_PATTERN, roles):
        raise InvalidOption(
            f"{ROLES} takes one role a channel, each of a-z, 0-9, _ and -, such as agent,customer",
            value=roles[:_SHOWN_CHARACTERS],
        )
    if adapt is not None and adapt not in _ADAPT:
        raise InvalidOption(f"{ADAPT} takes true or false", value=adapt[:_SHOWN_CHARACTERS])
    return Options(roles=settings.roles(roles or ""), adapt=None if adapt is None else _ADAPT[adapt])
