"""Splits and epochs that a run does not have are named, instead of an answer without rows."""

import pytest

import queries
from pipelines.asked import check_parameters
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

WRONG = [
    ({"split": "nowhere"}, "no split 'nowhere'; there are: test, train, val, train_seen"),
    ({"split": "Test"}, "no split 'Test'"),
    ({"split": "extra:new"}, "no split 'extra:new'"),
    ({"epoch": "99"}, "no epoch 99; there are: 0, 1, 2, 3"),
    ({"from_epoch": "99"}, "no epoch from 99 to 3"),
    ({"from_epoch": "3", "to_epoch": "1"}, "no epoch from 3 to 1"),
]
RIGHT = [
    {}, {"split": "train_seen", "epoch": "3"}, {"split": None, "epoch": None}, {"from_epoch": "3", "to_epoch": "3"},
    {"to_epoch": "99"}, {"early_epochs": "99"}, {"epoch": " 0 "},
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), WRONG, ids=str)
def test_what_a_run_lacks_is_named(study: Home, trained, values: dict, message: str) -> None:
    with connect(study) as connection, pytest.raises(InputError) as error:
        check_parameters(connection, {"run_id": trained.run_id} | values)
    assert message in str(error.value)


@pytest.mark.parametrize("values", RIGHT, ids=str)
def test_what_a_run_has_is_taken(study: Home, trained, values: dict) -> None:
    with connect(study) as connection:
        assert check_parameters(connection, {"run_id": trained.run_id} | values) is None  # raises nothing


def test_both_runs_of_a_difference_need_the_split(study: Home, trained) -> None:
    with connect(study) as connection, pytest.raises(InputError, match="run nothing has no split"):
        check_parameters(connection, {"run_id": trained.run_id, "other_run_id": "nothing", "split": "val"})


def test_a_run_without_epochs_says_so(study: Home) -> None:
    with connect(study) as connection, pytest.raises(InputError, match="no epoch 1; there are: none yet"):
        check_parameters(connection, {"run_id": "nothing", "epoch": "1"})


def test_every_parameter_for_splits_and_epochs_is_known() -> None:
    """A new question's parameter must be looked at here, or be none of these."""
    names = {name for query in queries.NAMES for name in queries.header(query).params}
    found = {name for name in names if "epoch" in name or "split" in name}
    assert found == {"split", "epoch", "from_epoch", "to_epoch", "early_epochs"}  # the last is a bound, not an epoch
