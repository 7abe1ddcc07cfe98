"""Who speaks on which channel, and whose emotion may be judged."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """The roles of a recording's channels in order, and those that are never judged.

    Where some are not to be judged, neither is whoever has no known role: it might be one of them.
    """

    names: tuple[str, ...] = ()
    unjudged: frozenset[str] = frozenset()

    def of_channels(self, num_channels: int) -> tuple[str | None, ...]:
        """Return who speaks on each channel; nobody is known where there are more roles than channels to tell apart."""
        known = self.names if len(self.names) <= num_channels else ()
        return (*known, *[None] * (num_channels - len(known)))

    def may_judge(self, role: str | None) -> bool:
        """Whether the emotion of who has this role may be inferred."""
        return not self.unjudged or (role is not None and role not in self.unjudged)
