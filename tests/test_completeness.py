"""Every public thing has a row in the tables of cases, so that every law holds for it."""

import inspect
import types

import cases
import pytest

from vikl import Target, estimators, families, methods, objectives
from vikl.target._supports import known_supports


def _public(room: types.ModuleType, base: type) -> set[str]:
    return {
        name
        for name, value in vars(room).items()
        if not name.startswith("_")
        and isinstance(value, type)
        and issubclass(value, base)
        and value is not base
    }


def _lacking(room: types.ModuleType, base: type, table: dict) -> set[str]:
    """Return the names that only one of the room and the table has."""
    return _public(room, base) ^ {name.partition("-")[0] for name in table}


ROOMS = [
    (families, families.Family, cases.FAMILIES | cases.FOREIGN_FAMILIES),
    (estimators, estimators.Estimator, cases.ESTIMATORS),
    (objectives, objectives.Objective, cases.OBJECTIVES),
    (methods, methods.Method, cases.METHODS),
]


@pytest.mark.parametrize(("room", "base", "table"), ROOMS, ids=lambda v: getattr(v, "__name__", ""))
def test_every_public_class_has_a_row(room, base, table):
    assert _lacking(room, base, table) == set()


def test_every_constructor_of_a_target_has_a_row():
    constructors = {n for n, v in vars(Target).items() if isinstance(v, staticmethod)}
    assert {n for n in constructors if not n.startswith("_")} == set(cases.TARGETS)


def test_every_support_has_a_row():
    assert set(known_supports()) == set(cases.SUPPORTS)


def test_the_check_can_fail():
    class Newcomer(families.Family):
        pass

    room = types.ModuleType("room")
    vars(room).update(vars(families), Newcomer=Newcomer)
    table = cases.FAMILIES | cases.FOREIGN_FAMILIES
    assert _lacking(room, families.Family, table) == {"Newcomer"}
    assert _lacking(families, families.Family, table | {"Gone": None}) == {"Gone"}


@pytest.mark.parametrize(("room", "base", "table"), ROOMS, ids=lambda v: getattr(v, "__name__", ""))
def test_public_classes_are_final_and_documented_by_example(room, base, table):
    for name in table:
        kind = getattr(room, name.partition("-")[0])
        assert not kind.__subclasses__()
        assert not inspect.isabstract(kind)
        described = (kind.__doc__ or "") + (getattr(kind, "init", kind).__doc__ or "")
        assert "Example:" in described
