import inspect
import re

import pytest

from model import errors
from model.errors import AudioError, BundleError, StageFailed, VcemoError

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, VcemoError)]


def parents_in_the_drawing() -> dict[str, str]:
    """Child -> parent, as the docstring draws the tree."""
    assert errors.__doc__ is not None
    path: list[str] = []
    parents: dict[str, str] = {}
    for line in errors.__doc__.splitlines():
        drawn = re.match(r"^    ([│ ]*)(?:[├└]── )?([A-Z]\w+)", line)
        if drawn is None:
            continue
        depth = len(drawn[1]) // 4 + ("──" in line)
        path[depth:] = [drawn[2]]
        if depth:
            parents[drawn[2]] = path[depth - 1]
    return parents


def test_the_docstring_draws_every_class_below_its_parent() -> None:
    assert parents_in_the_drawing() == {
        found.__name__: found.__bases__[0].__name__ for found in CLASSES if found is not VcemoError
    }


def test_every_class_has_a_code_of_its_own() -> None:
    # A foreign failure inside a stage is an internal error to programs, as the base is.
    codes = [found.code for found in CLASSES if found is not StageFailed]
    assert len(set(codes)) == len(codes)
    assert StageFailed.code == VcemoError.code


@pytest.mark.parametrize("found", CLASSES)
def test_codes_are_lower_case_words_and_every_class_says_what_happened(found: type[VcemoError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", found.code)
    assert (found.__doc__ or "").endswith(".")


def test_an_error_carries_the_value_and_the_limit() -> None:
    error = AudioError("too loud", value=11, limit=10)
    assert (error.message, str(error), error.value, error.limit) == ("too loud", "too loud", 11, 10)


def test_value_and_limit_may_be_left_out() -> None:
    error = BundleError("torn")
    assert (error.value, error.limit) == (None, None)


def test_no_class_of_the_tree_is_another_kind_of_exception() -> None:
    assert all(not issubclass(found, ValueError | OSError) for found in CLASSES)
