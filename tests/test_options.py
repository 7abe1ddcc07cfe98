"""What a request may ask for, and who may be judged."""

import pytest

from model.errors import InvalidOption
from service.options import Options, options_of
from service.roles import Roles
from service.settings import Settings


def test_a_request_names_the_roles_in_place_of_the_setting() -> None:
    settings = Settings(channel_roles="agent,customer", unjudged_roles="agent")
    assert options_of(settings, {}).roles.names == ("agent", "customer")
    assert options_of(settings, {"channel_roles": "customer,agent"}).roles.names == ("customer", "agent")
    assert options_of(settings, {}, {"channel_roles": "caller"}).roles.names == ("caller",)
    assert options_of(settings, {"channel_roles": "a"}, {"channel_roles": "b"}).roles.names == ("a",)
    assert options_of(settings, {"channel_roles": "a,b"}).roles.unjudged == {"agent"}


@pytest.mark.parametrize(
    ("name", "value"), [("channel_roles", ""), ("channel_roles", "Agent"), ("channel_roles", "a,,b"), ("adapt", "yes")]
)
def test_a_value_that_an_option_cannot_have_is_refused_with_it(name: str, value: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{name} takes") as refusal:
        options_of(Settings(), {name: value})
    assert refusal.value.value == value


def test_fields_that_are_no_options_are_passed_over() -> None:
    assert options_of(Settings(), {"comment": "x"}, {"filename": "y"}) == Options()


def test_channels_with_a_speaker_each_are_adapted_to_unless_asked_otherwise() -> None:
    assert Options().adapts(2)
    assert not Options().adapts(1)
    assert Options(roles=Roles(names=("customer",))).adapts(1)
    assert not Options(roles=Roles(names=("agent", "customer"))).adapts(1)
    assert not Options(adapt=False).adapts(2)
    assert Options(adapt=True).adapts(1)


def test_roles_are_not_guessed_where_channels_cannot_be_told_apart() -> None:
    roles = Roles(names=("agent", "customer"))
    assert roles.of_channels(2) == ("agent", "customer")
    assert roles.of_channels(3) == ("agent", "customer", None)
    assert roles.of_channels(1) == (None,)


def test_where_some_are_not_to_be_judged_neither_is_an_unknown() -> None:
    roles = Roles(names=("agent", "customer"), unjudged=frozenset({"agent"}))
    assert [roles.may_judge(role) for role in ("agent", "customer", None)] == [False, True, False]
    assert Roles().may_judge(None)
