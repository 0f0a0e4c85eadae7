"""Training takes what reviewers said: other labels, images left out; and repeats that whatever is said later."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import queries
from pipelines.common.settings import FoldsSettings, RerunSettings, VerdictSettings
from pipelines.judging.verdict import verdict
from pipelines.lifecycle.run_inputs import load_data, read_recorded_config
from pipelines.rerunning import rerun
from pipelines.training import folds as folding
from pipelines.training import recipe as recipes
from pipelines.training import train as training
from pipelines.training.label_changes import LabelChanges, decide_label_changes
from pipelines.training.recipe import Recipe
from support.homes import TINY
from support.interruption import stopped_at_step
from tracking.catalogue import resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

BEFORE = replace(TINY, epochs=1)
SAID = """\
split,instance_id,verdict,new_label,who
train,0,label_wrong,{other},anna
train,0,label_wrong,{other},ben
train,1,label_wrong,,anna
train,2,not_usable,,anna
train,3,label_wrong,{other},anna
train,3,label_ok,,ben
train,4,label_ok,,anna
val,0,not_usable,,anna
test,0,label_wrong,{other},anna
"""


def say(home: Home, run_id: str, content: str) -> None:
    file = home.path / "said.csv"
    file.write_text(content)
    verdict(VerdictSettings(run_id, str(file)), home)


def query(home: Home, sql: str) -> list[tuple]:
    with connect(home) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def judged(tmp_path: Path, trained_home) -> tuple[Home, str, int]:
    """A home with a run, verdicts on its images, and a class that no image judged has."""
    home = trained_home(tmp_path, BEFORE)
    run_id = resolve(home, "latest").run_id
    known = {
        label for (label,) in query(home, "select label from instances where instance_id in (0, 3) and split <> 'val'")
    }
    other = min(set(range(10)) - known)
    say(home, run_id, SAID.format(other=other))
    return home, run_id, other


def test_a_training_with_verdicts_stops_resumes_and_repeats(judged: tuple[Home, str, int]) -> None:
    home, before, other = judged
    with stopped_at_step(14):
        training.train(replace(BEFORE, epochs=2, verdicts="apply"), home)
    record = resolve(home, "latest")
    say(home, before, "split,instance_id,verdict,who\ntrain,0,withdrawn,anna\ntrain,9,not_usable,anna\n")
    run_id = training.resume(record, home)

    labels = dict(
        query(home, f"select instance_id, label from instances where run_id = '{before}' and split = 'train'")
    )
    trained_with = {key: label for key, label in labels.items() if key not in (1, 2)} | {0: other}
    for epoch in (1, 2):
        where = f"run_id = '{run_id}' and split = 'train_seen' and epoch = {epoch}"
        rows = query(home, f"select instance_id, label from predictions where {where} order by 1")
        assert rows == sorted(trained_with.items())
    assert query(home, f"select instance_id, label, new_label from label_changes where run_id = '{run_id}'") == [
        (0, labels[0], other),
        (1, labels[1], None),
        (2, labels[2], None),
    ]
    untouched = "select split, instance_id, label from {} where run_id = '{}' and split <> 'train_seen' {} order by all"
    for table, condition in (("instances", ""), ("predictions", "and epoch = 1")):
        rows = (query(home, untouched.format(table, run, condition)) for run in (before, run_id))
        assert next(rows) == next(rows)
    with connect(home) as connection:
        assert queries.run(connection, "missing_predictions", {"run_id": run_id}).rows == []
    recorded = read_recorded_config(home, record)
    assert recorded["settings"]["verdicts"] == "apply"
    counts = {key: value for key, value in recorded["verdicts"].items() if key != "digest"}
    assert counts == {"judged": 5, "disputed": 1, "relabelled": 1, "left_out": 2}

    repeated = rerun(RerunSettings(run_id, check=True), home)  # raises if a number differs
    assert read_recorded_config(home, resolve(home, repeated))["verdicts"] == recorded["verdicts"]


def test_folds_learn_from_the_labels_of_their_run_and_predict_all_images(judged, monkeypatch) -> None:
    home, before, other = judged
    run_id = training.train(replace(BEFORE, verdicts="apply"), home)
    learned: list[Counter[int]] = []

    def make_recipe(*values: Any) -> Recipe:
        recipe = recipes.make_recipe(*values)
        learned.append(Counter(recipe.labels.tolist()))
        return recipe

    monkeypatch.setattr(folding, "make_recipe", make_recipe)
    folding.folds(FoldsSettings(run_id, k=2), home)
    labels = query(home, f"select instance_id, label from instances where run_id = '{before}' and split = 'train'")
    trained_with = Counter(other if number == 0 else label for number, label in labels if number not in (1, 2))
    assert sum(learned, Counter()) == trained_with  # each image was in the other fold once
    predicted = f"select instance_id, label from predictions where run_id = '{run_id}' and split = 'train_folds'"
    assert query(home, f"{predicted} and epoch = 1 order by 1") == sorted(labels)


@pytest.mark.parametrize(("kept", "expected"), [([0, 1, 2], {0: 5, 2: None}), ([2, 3], {0: None}), ([4], {})])
def test_changes_are_numbered_by_the_images_that_there_are(kept: list[int], expected: dict) -> None:
    assert LabelChanges({0: 5, 2: None}, judged=3).among(kept) == LabelChanges(expected, judged=3)


def test_what_is_left_out_and_other_validation_images(judged: tuple[Home, str, int]) -> None:
    """Images are found again where another seed has put them; those for validation and testing stay as they are."""
    home, before, other = judged
    sources = dict(
        query(home, f"select instance_id, source from instances where run_id = '{before}' and split = 'train'")
    )
    [(validated,)] = query(
        home, f"select source from instances where run_id = '{before}' and (split, instance_id) = ('val', 0)"
    )
    expected = {sources[0]: other, sources[1]: None, sources[2]: None, validated: None}
    for seed in (0, 1):
        settings = replace(BEFORE, seed=seed, verdicts="apply")
        data = load_data(settings, home)
        train = data.splits["train"]
        places = {train.sources.index(source): label for source, label in expected.items() if source in train.sources}
        assert decide_label_changes(settings, home, data).new_labels == places
        left_out = decide_label_changes(replace(settings, verdicts="leave-out"), home, data)
        assert left_out.new_labels == dict.fromkeys(places)
        assert decide_label_changes(replace(settings, verdicts="ignore"), home, data).new_labels == {}


def test_verdicts_that_cannot_be_taken_are_refused(tmp_path: Path, trained_home) -> None:
    home = trained_home(tmp_path, BEFORE)
    with pytest.raises(InputError, match="--verdicts apply: nobody has judged a training image"):
        training.train(replace(BEFORE, verdicts="apply"), home)
    run_id = resolve(home, "latest").run_id
    zeros = query(
        home, f"select instance_id from instances where run_id = '{run_id}' and split = 'train' and label = 0"
    )
    rows = "\n".join(f"train,{key},not_usable" for (key,) in zeros)
    say(home, run_id, f"split,instance_id,verdict\n{rows}\n")
    with pytest.raises(InputError, match="leaves no training image of class 0;"):
        training.train(replace(BEFORE, verdicts="leave-out"), home)
    assert resolve(home, "latest").run_id == run_id
