"""Groups of seeds: what a reference to one means, and which names are free."""

import logging

import pytest

from pipelines.lifecycle.groups import find_group
from tracking import runs
from tracking.catalogue import free_name, read_members, resolve, resolve_all, split_epoch
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect


def start(home: Home, name: str, seed: int, group: str | None = "wide") -> runs.Run:
    params = {} if group is None else {"group": group}
    run = runs.start_run(home, runs.new_record("train", name, params, seed=seed), {}, "")
    runs.log_record(run)
    return run


def test_a_group_means_its_finished_runs_by_seed(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    late, early = start(home, "one", 7), start(home, "two", 0)
    alone, unfinished = start(home, "three", 1, None), start(home, "four", 2)
    with pytest.raises(InputError, match=r"no run of group 'wide' is finished; there are: .* \(two\)"):
        resolve_all(home, "wide")
    for run, status in ((late, "FINISHED"), (early, "FINISHED"), (alone, "FINISHED"), (unfinished, "FAILED")):
        runs.finish_run(run, status)
    with caplog.at_level(logging.WARNING):
        assert [record.seed for record in resolve_all(home, "wide")] == [0, 7]
    assert f"left out of group 'wide': {unfinished.run_id[:8]} (four)" in caplog.text
    assert [record.seed for record in read_members(home, "wide")] == [0, 2, 7]
    for reference in ("three", alone.run_id, alone.run_id[:10]):  # a run stands for itself
        assert [record.run_id for record in resolve_all(home, reference)] == [alone.run_id]
    with pytest.raises(InputError, match=r"'wide' is a group of 3 runs: .* \(one\), .* \(two\), .*; name one of them"):
        resolve(home, "wide")
    with pytest.raises(InputError, match="no run 'wid' in"):
        resolve_all(home, "wid")
    with pytest.raises(InputError, match="'wide' is a group of 3 runs"):
        resolve_all(home, "wide", ("compare",))

    with connect(home) as connection:
        sql = "select name, seed_group from runs order by seed"
        assert connection.execute(sql).fetchall() == [
            ("two", "wide"), ("three", None), ("four", "wide"), ("one", "wide"),
        ]  # fmt: skip
    tags = early.client.get_run(early.run_id).data.tags, alone.client.get_run(alone.run_id).data.tags
    assert tags[0]["study.group"] == "wide"
    assert "study.group" not in tags[1]


def test_names_of_runs_and_groups_do_not_meet(home: Home) -> None:
    run = start(home, "one", 0)
    runs.finish_run(run)
    with pytest.raises(InputError, match="there is a group called 'wide' already; choose another --name"):
        free_name(home, "wide", "")
    assert free_name(home, None, "wide") == "wide-2"
    with pytest.raises(InputError, match="there is a run called 'one' already; choose another --group"):
        find_group(home, "one", 0)
    with pytest.raises(InputError, match="--group is 'latest'"):
        find_group(home, "latest", 0)
    with pytest.raises(InputError, match=r"group 'wide' has a run of seed 0 already, .* give another --seed"):
        find_group(home, "wide", 0)
    assert [record.seed for record in find_group(home, "wide", 1)] == [0]
    assert find_group(home, "new", 1) == []

    other = start(home, "two", 1, None)
    other.client.update_run(other.run_id, name="wide")  # renamed in MLflow, where nobody checks it
    with pytest.raises(InputError, match=f"'wide' means a group of 1 runs?, and {other.run_id[:8]}"):
        resolve_all(home, "wide")
    assert resolve(home, "wide").run_id == other.run_id


def test_an_epoch_is_split_off_what_is_no_name(home: Home) -> None:
    start(home, "a:1", 0, "b:2")
    for reference, parts in (
        ("a:1", ("a:1", None)), ("a:1:3", ("a:1", "3")), ("b:2", ("b:2", None)), ("b:2:best", ("b:2", "best")),
        ("c", ("c", None)), ("c:", ("c", "")),
    ):  # fmt: skip
        assert split_epoch(home, reference) == parts
