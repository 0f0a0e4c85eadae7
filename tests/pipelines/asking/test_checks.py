"""Splits and epochs that a run does not have are named, instead of an answer without rows."""

import time

import pytest

import queries
from pipelines.asking.checks import check_parameters, check_recorded
from support.commands import as_process
from tracking import reading
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


def test_each_of_two_runs_needs_its_own_epoch(study: Home, trained) -> None:
    runs = {"run_id": trained.run_id, "other_run_id": trained.run_id}
    with connect(study) as connection:
        check_parameters(connection, runs | {"epoch": "3", "other_epoch": "0"})
        for epochs in ({"epoch": "9", "other_epoch": "0"}, {"epoch": "3", "other_epoch": "9"}):
            with pytest.raises(InputError, match="has no epoch 9"):
                check_parameters(connection, runs | epochs)


def test_a_run_without_epochs_says_so(study: Home) -> None:
    with connect(study) as connection, pytest.raises(InputError, match="no epoch 1; there are: none yet"):
        check_parameters(connection, {"run_id": "nothing", "epoch": "1"})


def test_every_parameter_for_splits_and_epochs_is_known() -> None:
    """A new question's parameter must be looked at here, or be none of these."""
    names = {name for query in queries.NAMES for name in queries.header(query).params}
    found = {name for name in names if "epoch" in name or "split" in name}
    assert found == {
        "split",
        "epoch",
        "other_epoch",
        "from_epoch",
        "to_epoch",
        "early_epoch",
        "early_epochs",
    }  # the last is a bound, not an epoch


ZONES = ("UTC", "America/Los_Angeles", "Asia/Tokyo")
TIMES = """
    select
        count(*) filter (started_at between now() - interval 1 day and now()) = count(*) as recent,
        localtimestamp = now() at time zone 'UTC' as local,
        current_date = (now() at time zone 'UTC')::date as today,
        timestamptz '2026-01-01 00:00:00+09' as moment,
        [timestamptz '2026-01-01 00:00:00+09'] as moments,
        timestamp '2026-01-01'::timestamptz::varchar as text
    from runs"""
MOMENT = "2025-12-31 15:00:00+00:00"


@pytest.mark.parametrize("zone", ZONES)
def test_times_are_utc_wherever_they_are_asked_for(study: Home, capsys, monkeypatch, zone: str) -> None:
    """Also on the second connection of a process, and without the index."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with connect(study) as first, connect(study) as second, reading._open_files(study) as files:
            reading._restrict(files, study, None)
            found = [connection.execute(TIMES).fetchall() for connection in (first, second, files)]
    finally:
        monkeypatch.undo()
        time.tzset()
    for [(recent, local, today, moment, moments, text)] in found:
        assert (recent, local, today, text) == (True, True, True, "2026-01-01 00:00:00+00")
        assert [str(moment), *map(str, moments)] == [MOMENT] * 2


@pytest.mark.parametrize("zone", ZONES[1:])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_answers_show_utc(study: Home, zone: str, form: str) -> None:
    found = as_process("sql", TIMES, "--format", form, "--home", str(study.path), TZ=zone)
    text = found.stdout.decode()
    assert (found.returncode, found.stderr) == (0, b"")
    assert text.count(MOMENT) == 2
    assert text.lower().count("true") == 3


def test_a_question_about_what_a_run_did_not_record_is_refused(study: Home, trained) -> None:
    with connect(study) as connection:
        check_recorded(connection, "leaks", trained.run_id)
        check_recorded(connection, "forgetting", "older")
        with pytest.raises(InputError, match="run older did not record the content of its images"):
            check_recorded(connection, "leaks", "older")
