"""The live board: every call at a glance."""

from collections.abc import Iterable

from service.live_call import LiveCall
from service.stream_messages import Board, BoardCall, LiveRole


def board_of(calls: Iterable[LiveCall]) -> Board:
    """Show calls, the newest first."""
    return Board(calls=[_line(call) for call in sorted(calls, key=lambda call: call.facts.started_at, reverse=True)])


def _line(call: LiveCall) -> BoardCall:
    return BoardCall(
        session_id=call.facts.session_id,
        started_at=call.facts.started_at.isoformat(),
        state=call.state,
        duration_ms=call.received_ms,
        roles=[_role(call, channel) for channel in range(call.facts.format.channels)],
        alerts=call.alerts,
    )


def _role(call: LiveCall, channel: int) -> LiveRole:
    own = [segment for segment in call.segments if segment.channel == channel]
    last = next((segment for segment in reversed(own) if segment.emotion is not None), None)
    return LiveRole(
        channel=channel,
        role=call.facts.of_channels[channel],
        judged=call.facts.may_judge[channel],
        emotion=last.emotion if last is not None else None,
        confidence=last.confidence if last is not None else None,
        sentiment=call.speaker(channel).sentiment,
        talk_ms=sum(segment.end_ms - segment.start_ms for segment in own if segment.status != "no_speech"),
    )
