"""The page of two models: its numbers are the answers to its questions, however little there is."""

import html
import json
import re
import shutil
from dataclasses import replace
from datetime import datetime
from math import comb
from pathlib import Path

import pytest

import pipelines
import queries
from pipelines.common.settings import DiffSettings, ImportFlowSettings
from pipelines.diffing import diff as diffing
from pipelines.diffing.criteria import PAGE_LEVEL, SEEDS_TO_TELL, VERDICTS
from pipelines.diffing.diff import diff
from pipelines.diffing.facts import Facts, gather_facts, list_differences
from pipelines.diffing.page import points, points_between, render, write_p
from pipelines.diffing.pair import make_pair, read_references
from pipelines.instanceflow.import_log import import_flow
from pipelines.pages.evidence import Answer
from pipelines.pages.reviews import Reviews
from pipelines.training.train import train
from support.commands import study_command
from support.homes import FIRST, TINY, fresh
from tracking.catalogue import resolve
from tracking.home import Home, find_home
from tracking.reading import connect

MINUS, MCNEMAR = "\u2212", "McNemar\u2019s exact test"
NASTY = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def page(pair: Home) -> str:
    return Path(diff(DiffSettings(run=FIRST, other="other"), pair)).read_text()


@pytest.fixture(scope="module")
def facts(pair: Home) -> Facts:
    """What the page of both runs says."""
    settings = DiffSettings(run=FIRST, other="other")
    with connect(pair) as connection:
        return gather_facts(make_pair(settings, pair, read_references(settings, pair), connection))


def text_of(page: str) -> str:
    """The words of a page but for its SQL, each space single; what is folded too."""
    body = re.sub(r"<pre>.*?</pre>", "", page[page.index("<body>") :], flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def rendered(facts: Facts, **parts: object) -> str:
    """The words of a page with other parts."""
    return text_of(render(replace(facts, **parts), datetime(2026, 1, 2)))


def asked(home: Home, name: str, **values: str | float) -> list[dict]:
    given = {"run_id": resolve(home, FIRST).run_id, "other_run_id": resolve(home, "other").run_id}
    with connect(home) as connection:
        return queries.run(connection, name, given | values).dicts


# --- what it says


def test_the_verdict_and_the_four_counts_are_those_of_the_question(pair: Home, page: str) -> None:
    [row] = asked(pair, "fixed_and_broken", level=VERDICTS["accuracy"].level)
    text = text_of(page)
    for name in ("both_right", "fixed", "broken", "both_wrong"):
        assert f" {row[name]:,.0f} {name.replace('_', ' ')} " in text
    assert row["verdict"] == "A is more accurate"
    change = f"{100 * abs(row['change']):.1f}"
    ends = f"{-100 * row['change_high']:.1f} to {-100 * row['change_low']:.1f}"
    assert f"A classifies {change} points more of the 445 test images correctly: " in text
    assert f"(98.5 % interval of the difference {ends} points; {MCNEMAR}, p < 0.0001)" in text
    assert "This is about these two models" in text


def test_classes_probabilities_and_churn_are_those_of_the_questions(pair: Home, page: str) -> None:
    text = text_of(page)
    for row in [row for row in asked(pair, "improvement_by_class") if row["kind"] == "class"]:
        assert f"{row['label_name']} {row['n']} {100 * row['rate']:.0f}\u00a0%".replace("\u00a0", " ") in text
    for row in asked(pair, "calibration_change"):
        both = " ".join(f"{row[name]:.3f}".replace("-", MINUS) for name in ("value", "other_value"))
        assert both in text
    [row] = [row for row in asked(pair, "churn") if row["label"] is None]
    assert f"{100 * row['churn']:.1f} % of the 445 images are predicted as different classes" in text
    assert "There are no seeds of one recipe to compare with." in text


def test_images_that_changed_are_counted_and_shown(pair: Home, page: str) -> None:
    rows = asked(pair, "compared_instances")
    changed = [row for row in rows if row["predicted"] != row["other_predicted"]]
    text = text_of(page)
    assert f"{len(changed)} of 445 images" in text
    for kind, name in (
        ("broken", "Broken: A is right"),
        ("fixed", "Fixed: B is right"),
        ("rerouted", "Both are wrong"),
    ):
        count = sum(row["outcome"] == kind for row in changed)
        assert (name in text) == bool(count)
        assert not count or re.search(rf"{name}[^#]* {count} image", text)
    shown = {int(one) for one in re.findall(r"<figcaption>#(\d+)", page)}
    assert shown <= {row["instance_id"] for row in changed}


def test_every_part_shows_its_question(page: str) -> None:
    for name in (
        "fixed_and_broken",
        "improvement_by_class",
        "calibration_change",
        "churn",
        "seed_flow",
        "compared_instances",
        "explanation_change",
        "concept_change",
    ):
        assert f"study ask {name} " in text_of(page)
        assert html.escape(queries.text(name).split("\n")[0], quote=True).replace("&#x27;", "&#39;") in page


def test_heatmaps_stand_side_by_side_where_both_have_them(facts: Facts) -> None:
    images = [image for shown in facts.gallery.shown.values() for image in shown]
    with_maps = {image.row["instance_id"] for image in images if image.maps}
    changed = {row["instance_id"] for rows in facts.gallery.changed.values() for row in rows}
    assert with_maps == changed & {3, 7}  # those explained, which come first
    assert facts.gallery.explained == len(with_maps)
    for image in images:
        for probabilities, key in zip(image.likeliest, ("predicted", "other_predicted"), strict=True):
            assert probabilities[0][0] == str(image.row[key])  # classes are called as their digits
            assert [share for _, share in probabilities] == sorted((share for _, share in probabilities), reverse=True)


def test_the_page_lies_with_the_first_run_and_needs_nothing_else(pair: Home, page: str) -> None:
    first, other = resolve(pair, FIRST), resolve(pair, "other")
    assert (pair.run_folder(first.run_id) / f"diff_against_{other.run_id[:8]}.html").read_text() == page
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:|flow_against)[^"]*"', page) == []


def test_two_epochs_of_a_run_are_two_models(pair: Home) -> None:
    made = Path(pipelines.diff(f"{FIRST}:1", f"{FIRST}:best", home=pair.path))
    run_id = resolve(pair, FIRST).run_id
    assert made.name.startswith(f"diff_epoch_1_against_{run_id[:8]}_epoch_")
    text = text_of(made.read_text())
    assert re.search(rf"A {FIRST}, epoch 1 against B {FIRST}, epoch \d", text)
    assert "No recorded setting differs." in text
    assert "Every image and epoch of both, in one flow" in text


def test_settings_that_differ_are_listed(facts: Facts) -> None:
    found = {name: values for name, *values in list_differences(*facts.pair.sides)}
    assert found == {"--epochs": ["3", "2"], "--seed": ["0", "1"]}
    here, other = facts.pair.sides
    params = here.record.params | {"seed": 1, "epochs": 2, "shift": 0}
    other = replace(other, records=(replace(other.record, params=params),))
    assert "--random-shift" in [name for name, *_ in list_differences(here, other)]  # shift in the record


def test_the_flow_of_both_is_a_link_where_it_lies_beside_the_page(facts: Facts) -> None:
    made = render(replace(facts, flow_page="flow_against_1.html"), datetime(2026, 1, 2))
    assert '<a href="flow_against_1.html">' in made
    assert "study flow" not in made
    assert "study flow" in rendered(facts, flow_page=None)


def test_reviewers_stand_beside_the_images(facts: Facts) -> None:
    image = next(image for shown in facts.gallery.shown.values() for image in shown)
    row = {"split": "test", "instance_id": image.row["instance_id"], "who": "<i>", "verdict": "label_wrong"}
    reviews = Reviews(Answer([row | {"new_label": "4", "note": None}], 1))
    assert "<i>: label wrong, is 4" in rendered(facts, reviews=reviews)


# --- levels


def test_the_levels_of_a_page_add_up_whatever_it_compares() -> None:
    seeds = {"churn", "explanations"}  # tested where there are seeds of one recipe
    for parts in (VERDICTS.keys() - seeds, VERDICTS.keys() - {"concepts"}):  # two runs, two groups
        assert sum(VERDICTS[part].level for part in parts) == pytest.approx(PAGE_LEVEL)
    for part in seeds:  # a way to regroup and its mirror image, of all
        assert 2 / comb(2 * SEEDS_TO_TELL, SEEDS_TO_TELL) <= VERDICTS[part].level < 2 / comb(8, 4)


def test_each_part_is_asked_at_its_level_and_says_which(page: str) -> None:
    text = text_of(page)
    for part, level in {"accuracy": 0.015, "classes": 0.005, "calibration": 0.005, "concepts": 0.02}.items():
        assert VERDICTS[part].asked_level == level
        assert re.search(rf"study ask {VERDICTS[part].question} [^,]*?--level {level}\b", text)
    for name in ("98.5 % interval of the difference", "points 99.5 % interval", "B minus A 99.5 % interval"):
        assert name in text


# --- groups of seeds


def test_a_group_of_seeds_is_compared_with_a_run(pair: Home, tmp_path: Path, capsys) -> None:
    shutil.copytree(pair.path, tmp_path / "study")
    home = find_home(str(tmp_path / "study"))
    for seed in (3, 4):
        train(replace(TINY, epochs=1, seed=seed, group="brief"), home)
    capsys.readouterr()
    code, out, _ = study_command(capsys, "diff", FIRST, "brief", "--home", home.path)
    assert code == 0
    page = Path(out.strip())
    assert page.name == "diff_against_brief.html"
    text = text_of(page.read_text())
    assert "Nothing is tested between one run and a group." in text
    assert "--other-run-id brief" in text  # as `study ask` takes a group
    assert "Broken: wrong in most seeds of B, but not of A" in text
    assert re.search(r"wrong in 0 of 1 \(A\), 2 of 2 \(B\)", text)  # after one epoch most images are
    assert "Not comparable between groups: each run has concepts of its own" in text
    code, _, line = study_command(capsys, "diff", "brief", resolve(home, "latest").run_id, "--home", home.path)
    assert (code, "is in A and in B" in line) == (2, True)


# --- little to say


def test_the_sentences_of_other_outcomes(facts: Facts) -> None:
    [row] = facts.outcome.rows

    def said(**changes: object) -> str:
        return rendered(facts, outcome=Answer([row | changes], facts.outcome.number))

    none = said(verdict="no difference shown", p_value=0.25, change=0.004, change_low=-0.006, change_high=0.014)
    assert "No difference in accuracy is shown." in none
    assert f"difference {MINUS}0.6 to 1.4 points; {MCNEMAR}, p = 0.25)" in none
    better = said(verdict="B is more accurate", p_value=0.031, change=0.012, change_low=0.001, change_high=0.023)
    assert "B classifies 1.2 points more" in better
    assert f"0.1 to 2.3 points; {MCNEMAR}, p = 0.031)" in better
    assert "This is about the two recipes" in said(about="recipes")
    assert "Left out: 3 test images that only A has" in said(unmatched=3)
    unlabelled = said(n=0, verdict=None)
    assert "is not known: the test images that both predicted have no labels" in unlabelled
    assert "both right" not in unlabelled


def test_images_without_a_label(facts: Facts) -> None:
    shown = next(image for images in facts.gallery.shown.values() for image in images)
    row = shown.row | {"label": None, "label_name": None, "outcome": None, "p_true_change": None}
    gallery = replace(facts.gallery, shown={None: [replace(shown, row=row)]}, changed={None: [row]})
    text = rendered(facts, gallery=gallery)
    assert "Predicted differently; the label is unknown" in text
    assert f"#{row['instance_id']} label unknown: A {row['predicted_name']}" in text


EXPLAINED = {
    "method": "saliency", "n_both": 40, "n": 30, "similarity": 0.5, "low": 0.4, "high": 0.6, "seed_pairs": 0,
    "seeds_similarity": None, "p_adjusted": None, "p_least": None, "is_changed": None,
}  # fmt: skip


def test_what_is_said_of_explanations(facts: Facts) -> None:
    def said(*rows: dict) -> str:
        return rendered(facts, explanations=Answer(list(rows), 1))

    assert "no method has maps of the same images" in said()
    assert "no seeds to compare with" in said(EXPLAINED)
    seeds = EXPLAINED | {"seed_pairs": 2, "seeds_similarity": 0.7}
    few = said(seeds | {"p_adjusted": 1 / 3, "p_least": 1 / 3, "is_changed": False})
    assert "too few seeds to tell" in few
    assert "No difference beyond that of seeds is shown." in few
    clear = said(seeds | {"p_adjusted": 1 / 35, "p_least": 1 / 35, "is_changed": True})
    assert "maps by Saliency differ by more than those of seeds of one recipe do." in clear
    assert "yes, p = 0.029" in clear


CONCEPT = {
    "status": "matched", "concept_id": 0, "concept": NASTY, "other_concept_id": 4, "other_concept": "stripes", "n": 90,
    "correlation": 0.9, "low": 0.8, "high": 0.95, "layer": "one", "other_layer": "two", "answers_kept": 0.9,
    "other_answers_kept": None,
}  # fmt: skip


def test_what_is_said_of_concepts(facts: Facts) -> None:
    gone = CONCEPT | {"status": "gone", "concept_id": 1, "concept": "dots", "correlation": 0.1}
    new = CONCEPT | {"status": "new", "concept_id": None, "concept": None}
    text = rendered(facts, concepts=Answer([CONCEPT, gone, new], 1))
    assert "1 concept has a match; 1 is only in A, 1 only in B." in text
    assert "Given its concepts alone" not in text
    kept = rendered(facts, concepts=Answer([CONCEPT | {"other_answers_kept": 0.8}], 1))
    assert "A keeps 90.0 % of its answers and B 80.0 %." in kept


def test_names_are_escaped(facts: Facts) -> None:
    row = next(row for row in facts.gallery.source.rows if row["predicted"] != row["other_predicted"])
    image = next(image for shown in facts.gallery.shown.values() for image in shown)
    nasty = replace(image, row=row | {"label_name": NASTY, "predicted_name": NASTY, "other_predicted_name": NASTY})
    nasty = replace(nasty, likeliest=([(NASTY, 0.5)], [(NASTY, 0.5)]))
    gallery = replace(facts.gallery, shown={"broken": [nasty]})
    here = replace(facts.pair.here, name=NASTY)
    made = render(
        replace(
            facts, gallery=gallery, pair=replace(facts.pair, here=here), concepts=Answer([CONCEPT], 1),
            settings=[("lr", NASTY, NASTY)],
        ),
        datetime(2026, 1, 2),
    )  # fmt: skip
    assert "<img src=x" not in made
    assert "&lt;img" in made


def test_logs_without_probabilities_and_maps(tmp_path: Path, empty_tracker: Path) -> None:
    home = fresh(tmp_path, empty_tracker)
    for name, answers in (("one", (0, 1, 0, 0)), ("two", (1, 1, 0, 1)), ("same", (1, 1, 0, 1))):
        log = {
            "name": name,
            "labels": ["a", NASTY],
            "instances": [{"id": f"i{i}", "actual": i % 2} for i in range(4)],
            "epochs": [{"id": "0", "classifications": list(answers)}],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(log))
        import_flow(ImportFlowSettings(file=str(tmp_path / f"{name}.json"), name=name), home)
    page = Path(diff(DiffSettings(run="one", other="two"), home)).read_text()
    assert "<img src=x" not in page
    text = text_of(page)
    assert "2 of 4 images (50 %) are predicted as another class by B." in text
    assert "A log that was imported has no checkpoints to explain." in text
    same = text_of(Path(diff(DiffSettings(run="two", other="same"), home)).read_text())
    assert "both models predict the same class for all 4 images" in same


def test_many_classes_are_bounded(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"source": k, "source_name": f"class {k}", "target": (k + 1) % 1000, "target_name": f"class {(k + 1) % 1000}",
         "label": k, "label_name": f"class {k}", "outcome": "broken", "n": 1 + k % 7}
        for k in range(1000)
    ]  # fmt: skip
    monkeypatch.setattr(type(facts.pair), "ask", lambda *_, **__: Answer(rows, 1))
    from pipelines.diffing.flow import draw_changes

    flow = draw_changes(facts.pair)
    assert (flow.moved, flow.of, flow.is_part) == (sum(row["n"] for row in rows),) * 2 + (True,)
    assert flow.figure.count("<text") < 30


# --- what it refuses


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([FIRST], "A and B are the same"),
        (["nothing"], "no run 'nothing'"),
        (["other", "--split", "nowhere"], "has no predictions of split 'nowhere'; name one that it has with --split: "),
        (["other:9"], "has no predictions of epoch 9 in split 'test'; there are those of 0 to 2"),
        (["other:later"], "has no predictions of epoch later"),
        (["other", "--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(pair: Home, capsys, flags: list[str], said: str) -> None:
    code, out, line = study_command(capsys, "diff", FIRST, *flags, "--home", pair.path)
    assert (code, out) == (2, "")
    assert said in line.splitlines()[-1]
    assert "Traceback" not in line


def test_runs_without_a_shared_image_are_refused(pair: Home, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    make = diffing.make_pair

    def make_strangers(*values: object) -> object:
        made = make(*values)  # type: ignore[arg-type]
        monkeypatch.setattr(type(made), "ask", lambda *_, **__: Answer([], 1))
        return made

    monkeypatch.setattr(diffing, "make_pair", make_strangers)
    code, _, line = study_command(capsys, "diff", FIRST, "other", "--home", pair.path)
    assert (code, "share no image of split 'test'" in line) == (2, True)


@pytest.mark.parametrize(
    ("change", "said"), [(0.0123, "+1.2"), (-0.0123, "\u22121.2"), (0.0001, "0.0"), (-0.0001, "0.0"), (None, "\u2013")]
)
def test_points(change: float | None, said: str) -> None:
    assert points(change) == said


def test_numbers_of_intervals_and_tests() -> None:
    assert points_between(-0.012, 0.034) == "\u22121.2 to 3.4"
    assert [write_p(p).replace("\u00a0", " ") for p in (0.00001, 0.0123, 0.5)] == [
        "p < 0.0001",
        "p = 0.012",
        "p = 0.50",
    ]
