"""The report: its numbers are those of the queries, every state has its page, and names cannot break it."""

import base64
import json
import random
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import queries
from pipelines.cli import main
from pipelines.common.figures import short
from pipelines.common.flags import Parser, add_flags, from_flags
from pipelines.common.settings import ExplainSettings, ImportFlowSettings, ReportSettings, TrainSettings
from pipelines.common.wording import plural
from pipelines.explaining.explain import explain
from pipelines.instanceflow.import_log import import_flow
from pipelines.pages.html import html, safe
from pipelines.pages.words import between, listed, percent, value
from pipelines.reporting import accuracy
from pipelines.reporting.gallery import TRAINING_LABELS
from pipelines.reporting.page import make_templates
from pipelines.reporting.report import report, write_report
from pipelines.reporting.study_summary import summarise
from pipelines.reporting.techniques import TECHNIQUES, link_papers
from pipelines.training.train import train
from support.homes import TINY, fresh
from support.pages import flat, plain
from support.places import BROWSER, DRIVER
from tracking import commits, mlflow_client
from tracking.catalogue import resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS

in_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH")
NASTY = '<img src=x onerror=alert(1)> & "{0}"'
LOG = {
    "name": "</title><script>alert(1)</script>",
    "labels": ["</style><script>alert(2)</script>", NASTY, "c"],
    "instances": [{"id": f"i{i}", "actual": i % 3} for i in range(12)],
    "epochs": [{"id": str(e), "classifications": [(i * e + i // 2) % 3 for i in range(12)]} for e in (0, 1, 2)],
}


def commands(page: Path) -> list[str]:
    found = re.findall(r"<code>(study .*?)</code>", page.read_text(), re.DOTALL)
    return [unescape(re.sub(r"</?span>", "", text)) for text in found]


def answer(home: Home, name: str, **values) -> list[dict]:
    with connect(home) as connection:
        found = queries.run(connection, name, {"run_id": resolve(home, "latest").run_id, **values})
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty_tracker) -> Home:
    """A home with a training run on images of two classes, one of an awkward name, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 9)):
        for label, name in enumerate((NASTY, "b")):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 200 + 50 * label, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{number}.png")
    home = fresh(folder, empty_tracker)
    train(replace(TINY, dataset="folder", data=str(folder / "data"), epochs=2, batch=16), home)
    return home


@pytest.fixture(scope="module")
def bare(home: Home) -> Path:
    """The report without any explainer run, kept aside as a later one replaces it."""
    made = Path(report(ReportSettings(), home))
    return made.rename(made.with_name("bare.html"))


@pytest.fixture(scope="module")
def full(home: Home, bare: Path) -> Path:
    """The report with maps of two methods and concepts at two epochs."""
    explain(
        ExplainSettings(method=("saliency", "shap", "ice"), epochs="1,2", instances="0,4,9,13", samples=20, concepts=2),
        home,
    )
    return Path(report(ReportSettings(), home))


def test_numbers_and_their_words() -> None:
    assert percent(0.8676001) == "86.8\u00a0%"
    assert percent(2 / 3, 12) == "67\u00a0%"
    assert [percent(share) for share in (0, 1, 0.99996, 0.0004)] == [
        "0\u00a0%",
        "100\u00a0%",
        "99.996\u00a0%",
        "0.04\u00a0%",
    ]
    assert between(0.918, 1, 44) == "92 to 100\u00a0%"
    assert value(-0.004) == "0.00"
    assert value(-0.25) == "\u22120.25"
    assert plural(1, "class", "classes") == "1 class"
    assert plural(1200, "image") == "1,200 images"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([*"abcdefghij"], 3) == "a, b, c and 7 more"


def test_every_value_is_escaped_but_html() -> None:
    assert html("<b>{}</b>{}", NASTY, html("<i>{}</i>", "&")) == (
        "<b>&lt;img src=x onerror=alert(1)&gt; &amp; &#34;{0}&#34;</b><i>&amp;</i>"
    )
    assert safe("a\x00b\x1b") == "a b "


def test_the_summary_of_a_study_says_it_too(study: Home, trained, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summarise(study, trained.run_id, [], "report", "flow")
    assert "\nlabels       the model contradicts " in summary
    assert "\nconfused     " in summary
    assert "Too few" not in summary
    monkeypatch.setattr(accuracy, "IMAGES_FOR_CLASS", 1000)
    monkeypatch.setattr(accuracy, "UNEVEN_CLASSES", 1)
    summary = summarise(study, trained.run_id, [], "report", "flow")
    assert "\n             Too few images to say how hard they are: " in summary
    assert "\n             Classes differ in their number of test images, from " in summary
    assert "\u00a0" not in summary


def test_every_technique_has_a_card() -> None:
    assert {*METHODS, *CONCEPT_METHODS} <= set(TECHNIQUES)
    assert all(TECHNIQUES[method].use and TECHNIQUES[method].beware for method in METHODS)


def test_papers_are_linked_by_their_number() -> None:
    assert link_papers("Rong 2022, arXiv 2202.00449 (ROAD)") == [
        ("Rong 2022, ", None), ("arXiv 2202.00449", "2202.00449"), (" (ROAD)", None),
    ]  # fmt: skip
    assert link_papers("Owen 1977") == [("Owen 1977", None)]


def test_templates_escape_every_value() -> None:
    made = (
        make_templates().from_string("{{ name }}<b title='{{ name }}'>{{ odd }}</b>").render(name=NASTY, odd="\x1b[1m")
    )
    escaped = "&lt;img src=x onerror=alert(1)&gt; &amp; &#34;{0}&#34;"
    assert made == f"{escaped}<b title='{escaped}'> [1m</b>"


def test_without_explanations_it_says_what_makes_them(home: Home, bare: Path) -> None:
    text, run_id = plain(bare), resolve(home, "latest").run_id
    assert "No image of test is explained" in text
    assert "No concepts have been looked for yet" in text
    found = commands(bare)
    assert f"study explain {run_id} --method all --split test --count 18" in found
    assert f"study compare {run_id} --split test" in found
    assert f"study explain {run_id} --method ice --split test --count 18" in found


def test_numbers_are_those_of_sql(home: Home, full: Path) -> None:
    run_id, text = resolve(home, "latest").run_id, plain(full)
    with connect(home) as connection:
        sql = """select avg((predicted = label)::int), count(*), count(*) filter (predicted <> label) from predictions
                 where run_id = ? and split = 'test' and epoch = 2"""
        right, n, wrong = connection.execute(sql, [run_id]).fetchone()
        sql = "select map8 from attributions where method = 'saliency' and epoch = 2"
        maps = np.abs([row[0] for row in connection.execute(sql).fetchall()]).reshape(-1, 8, 8)
    assert flat(f"{percent(right, n)} of {n} test images are classified correctly") in text
    with connect(home) as connection:
        pairs = queries.run(connection, "confused_pairs", {"run_id": run_id}).dicts
    assert wrong == sum(row["n"] for row in pairs)
    assert "Saliency and SHAP explain 4 images of test at epoch 2; all of them explain 4" in text
    shares = maps[:, 2:6, 2:6].sum((1, 2)) / maps.sum((1, 2))
    [row] = re.findall(r"<tr><td>saliency</td>.*?</tr>", full.read_text(), re.DOTALL)[:1]
    assert percent(float(shares.mean())) in row


def test_where_the_model_contradicts_many_training_labels_none_is_doubted(bare: Path) -> None:
    assert "so many are mostly its own mistakes, so no training label is doubted" in plain(bare)
    assert "Labels none shown wrong" in plain(bare)
    assert "<h3>Training labels" not in bare.read_text()


def test_the_training_labels_contradicted_most_are_shown_and_never_called_wrong(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.reporting.labels.MOST_DISPUTED", 1)
    with connect(home) as connection:
        written = write_report(tmp_path, ReportSettings(), home, resolve(home, "latest", ("train",)), connection)
    page = written.page
    rows = [row for row in answer(home, "label_suspects", split="train_seen", limit="1000") if row["score"] > 0.5]
    assert len(rows) > TRAINING_LABELS
    [part] = re.findall(r"<h3[^>]*>Training labels.*?<details>", page.read_text(), re.DOTALL)
    shown = re.findall(r'<img[^>]*src="([^"]*)" alt="image (\d+) of train">', part)
    assert [int(instance) for _, instance in shown] == [row["instance_id"] for row in rows[:TRAINING_LABELS]]
    assert len({source for source, _ in shown}) == TRAINING_LABELS
    captions = [unescape(flat(text)) for text in re.findall("<figcaption>(.*?)</figcaption>", part, re.DOTALL)]
    assert captions == [
        f"#{row['instance_id']} labelled {short(row['label_name'], 12)}, predicted {short(row['suggested_name'], 12)}"
        for row in rows[:TRAINING_LABELS]
    ]
    assert part.count("wrong") == 1
    assert "): wrong ones or hard images" in part
    run_id = resolve(home, "latest").run_id
    assert f"study ask label_suspects --run-id {run_id} --split train_seen --limit {len(rows)}" in commands(page)


def test_every_command_of_the_appendix_answers(home: Home, full: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_HOME", str(home.path))
    asked = [command for command in commands(full) if command.startswith(("study ask", "study sql"))]
    assert len(asked) > 15
    for command in asked:
        assert main([*shlex.split(command)[1:], "--format", "json"]) == 0, command
    capsys.readouterr()


def test_settings_are_called_as_the_flags_that_give_them(bare: Path) -> None:
    shown = dict(re.findall(r"<code>(--[a-z-]+)</code> <b>(.*?)</b>", bare.read_text()))
    assert shown.items() >= {"--random-shift": "2", "--random-flip": "yes", "--ema-decay": "0.98"}.items()
    parser = Parser()
    add_flags(parser, TrainSettings)
    parsed = from_flags(TrainSettings, parser.parse_args([word for setting in shown.items() for word in setting]))
    assert (parsed.val_fraction, parsed.progressive_resizing, parsed.size) == (0.1, "no", 8)


def test_every_footnote_leads_to_a_query(full: Path) -> None:
    text = full.read_text()
    marks = set(re.findall(r'href="#(q\d+)"', text))
    assert len(marks) > 15
    assert marks <= set(re.findall(r'id="(q\d+)"', text))


def test_page_fetches_nothing_and_runs_nothing(full: Path) -> None:
    text = full.read_text()
    assert not re.search(r"<script|<link|@import|url\((?!#)|<iframe", text)
    assert all(place.startswith("data:image/") for place in re.findall(r'src="([^"]*)"', text))
    links = re.findall(r'href="([^"]*)"', text)
    assert {link.split("/abs/")[0] for link in links if not link.startswith("#")} == {"https://arxiv.org"}


def test_names_cannot_break_the_page(full: Path, log: Path) -> None:
    for page in (full, log):
        assert "<img src=x" not in page.read_text()
        assert "<script" not in page.read_text()
    assert "&lt;/title&gt;&lt;script&gt;" in log.read_text()


@pytest.fixture(scope="module")
def log(tmp_path_factory, empty_tracker) -> Path:
    """The report on an imported log."""
    folder = tmp_path_factory.mktemp("log")
    (folder / "log.json").write_text(json.dumps(LOG))
    home = fresh(folder, empty_tracker)
    import_flow(ImportFlowSettings(file=str(folder / "log.json")), home)
    return Path(report(ReportSettings(), home))


def test_an_imported_log_is_reported_as_far_as_it_goes(log: Path) -> None:
    text = plain(log)
    assert "An imported log has no checkpoints" in text
    assert "not judged" in text  # labels, without probabilities
    assert "The run has no probabilities" in text
    assert "No concepts have been looked for" not in text
    assert not [command for command in commands(log) if command.startswith(("study explain", "study compare"))]


def test_report_is_a_committed_run_and_a_file_of_the_training_run(home: Home, full: Path) -> None:
    source, made = resolve(home, "latest"), resolve(home, "latest", ("report",))
    assert (made.source_run_id, made.status, made.dataset) == (source.run_id, "FINISHED", "folder")
    assert mlflow_client.connect(home).get_run(made.run_id).data.tags["mlflow.parentRunId"] == source.run_id
    units = {commit.unit: {file.path for file in commit.files} for commit in commits.read_commits(home, made.run_id)}
    assert units == {"start": {"config.json", "environment.json"}, "report": {"report.html", "instances_to_check.csv"}}
    assert full == home.run_folder(source.run_id) / "report.html"
    assert full.read_bytes() == (home.run_folder(made.run_id) / "report.html").read_bytes()
    listed = (home.run_folder(made.run_id) / "instances_to_check.csv").read_text().splitlines()
    assert listed[0] == "split,instance_id,reason"
    assert len(listed) - 1 == len(answer(home, "instances_to_check"))


def test_a_split_without_labels_is_refused(home: Home) -> None:
    with pytest.raises(InputError, match=r"no predictions of labelled images of split 'extra:x'; .*: test, val"):
        report(ReportSettings(split="extra:x"), home)


class Visible(HTMLParser):
    """The text that is seen while everything folded is closed, and how the page is built."""

    VOID = ("meta", "img", "br", "rect", "path", "circle", "stop")
    INLINE = ("b", "a", "code", "span", "small", "sup", "br")

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.answers: list[str] = []  # first paragraph of each
        self.leads: list[str] = []  # its bold sentence
        self.counts = False  # whether this paragraph is an answer's first
        self.headings: list[int] = []
        self.attributes: set[str] = set()
        self.empty: list[str] = []  # elements without anything in them
        self.started = ""
        self.feed(page.read_text())

    @property
    def words(self) -> list[str]:
        return self.text.split()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.attributes |= given.keys()
        self.text += "" if tag in self.INLINE else " "
        self.started = "" if tag in self.VOID else tag
        if tag in self.VOID:
            assert tag != "img" or given.get("alt")
            return
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1:]))
        if given.get("class") == "answer":
            self.answers.append("")
            self.leads.append("")
        if tag == "p":
            self.counts = "article" in self.open and not self.answers[-1] and not given
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag
        self.text += "" if tag in self.INLINE else " "
        if self.started == tag and tag != "td":
            self.empty.append(tag)
        self.started = ""
        self.counts = self.counts and tag != "p"

    def handle_data(self, data: str) -> None:
        self.started = "" if data.strip() else self.started
        folded = "details" in self.open and (self.open.count("details") > 1 or "summary" not in self.open)
        if folded or {"style", "title", "sup"} & set(self.open):
            return
        self.text += data
        if self.counts:
            self.answers[-1] += data
            self.leads[-1] += data if "b" in self.open else ""


def write_log(folder: Path, classes: int, per_class: int, predict: Callable[[int, int, int], int]) -> Path:
    """An imported log of three epochs in which `predict(epoch, instance, label)` is what the model says; its report."""
    labels = [i % classes for i in range(classes * per_class)]
    epochs = [
        {"id": str(e), "classifications": [predict(e, i, label) for i, label in enumerate(labels)]} for e in (0, 1, 2)
    ]
    log = LOG | {
        "labels": [f"class {i}" for i in range(classes)],
        "instances": [{"id": f"i{i}", "actual": label} for i, label in enumerate(labels)],
        "epochs": epochs,
    }
    (folder / "log.json").write_text(json.dumps(log))
    return folder / "log.json"


NOTHING_LEARNED = {  # predictions that have nothing to do with the labels
    "constant": lambda *_: 3,
    "nearly constant": lambda epoch, i, _: 3 if i % 29 else i % 7,
    "shuffled": lambda epoch, i, _: random.Random(3 * i + epoch).randrange(10),
    "shuffled, ever the same": lambda epoch, i, _: random.Random(i).randrange(10) if epoch else 0,
}
STATES = {  # what the model says of an image, and what the page says of that
    "perfect": (10, 30, lambda epoch, _, label: label if epoch else 0, "all 300 are classified correctly"),
    "constant": (10, 30, NOTHING_LEARNED["constant"], "not shown to tell"),
    "many_classes": (
        100,
        4,
        lambda epoch, i, label: (label + (i % 3 == 0) * epoch) % 100,
        "those mixed up most",
    ),
    "one_class_receives_all": (
        10,
        20,
        lambda epoch, i, label: 7 if (i + epoch) % 7 == 0 else label,
        "25 of 25 mistakes are images misclassified as class 7. ",
    ),
    "two_classes": (
        2,
        40,
        lambda epoch, i, label: label if i % 5 else 1 - label,
        "Class 0 and class 1 are mixed up most",
    ),
}


@pytest.mark.parametrize("name", NOTHING_LEARNED)
def test_of_a_model_that_learned_nothing_only_that_is_claimed(name: str, tmp_path: Path, empty_tracker: Path) -> None:
    home = fresh(tmp_path, empty_tracker)
    import_flow(ImportFlowSettings(file=str(write_log(tmp_path, 10, 60, NOTHING_LEARNED[name]))), home)
    assert_nothing_is_claimed(Path(report(ReportSettings(), home)))


def assert_nothing_is_claimed(page: Path) -> None:
    """Of a model that learned nothing the page says that alone."""
    text = " ".join(Visible(page).words)
    assert "not shown to tell" in text
    assert "no image stands out" in text
    assert not re.search(
        "beyond chance|harder|easier|mixed up most,|misclassified as|suspect:|still helped|did harm", text
    ), text


@pytest.fixture(scope="module")
def untrained_home(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Home:
    """A home with a training run that was stopped before its first epoch, and explanations of the untrained network."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    home = fresh(tmp_path_factory.mktemp("untrained"), empty_tracker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.training.epoch.train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, home)
    explain(ExplainSettings(method=("saliency", "ice"), count=40, concepts=2), home)
    return home


@pytest.fixture(scope="module")
def untrained(untrained_home: Home) -> Path:
    return Path(report(ReportSettings(), untrained_home))


def test_of_an_untrained_network_only_that_is_claimed(untrained_home: Home, untrained: Path) -> None:
    assert_nothing_is_claimed(untrained)
    page = Visible(untrained)
    assert page.leads == [
        "No part is shown to decide: the model is not shown to tell the classes apart.",
        "Not answered: the model is not shown to tell the classes apart.",
        "Everywhere: it is not shown to tell the classes apart.",
    ]
    assert "Patterns not answered" in " ".join(page.words)
    assert "labels contradict" not in plain(untrained)
    folder = untrained_home.run_folder(resolve(untrained_home, "latest", ("report",)).run_id)
    assert (folder / "instances_to_check.csv").read_text() == "split,instance_id,reason\n"
    assert not (folder / "images_to_check.json").exists()
    summary = summarise(untrained_home, resolve(untrained_home, "latest").run_id, [], "report", "flow")
    assert "classes      the model is not shown to tell them apart" in summary
    assert not re.search("contradicts|confused", summary)


@pytest.fixture(scope="module")
def missing(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Path:
    """The report where no test image is of class bottom, and half of class middle look as if they were."""
    folder = tmp_path_factory.mktemp("missing")
    draw = np.random.default_rng(0)
    rows = {"top": 0, "middle": 3, "bottom": 6}
    for part, counts in (("train", {"top": 40, "middle": 40, "bottom": 40}), ("test", {"top": 30, "middle": 30})):
        for name, count in counts.items():
            (folder / "data" / part / name).mkdir(parents=True)
            for number in range(count):
                row = rows["bottom" if part == "test" and name == "middle" and number % 2 else name]
                pixels = draw.integers(0, 100, (8, 8), dtype=np.uint8)
                pixels[row : row + 2] += 150
                Image.fromarray(pixels).save(folder / "data" / part / name / f"{number}.png")
    home = fresh(folder, empty_tracker)
    settings = {"dataset": "folder", "data": str(folder / "data"), "model": "support.networks:flat"}
    train(replace(TINY, epochs=4, batch=16, lr=0.01, **settings), home)
    explain(ExplainSettings(method=("saliency",), count=40), home)
    return Path(report(ReportSettings(), home))


def test_of_a_class_without_test_images_only_that_is_claimed(missing: Path) -> None:
    text = " ".join(Visible(missing).words)
    assert "Middle is misclassified as bottom in 15 of 30 images; the test images have none of bottom" in text
    assert "Too few images to say how hard they are: bottom (no images)." in text
    assert "0 of 0" not in text
    assert 'id="gap"' not in missing.read_text()


@pytest.fixture(scope="module", params=[*STATES, "bare", "full", "log", "untrained", "missing"])
def state(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Path:
    """The page of a study of every kind."""
    if request.param not in STATES:
        return request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    classes, per_class, predict, said = STATES[request.param]
    home = fresh(folder, empty_tracker)
    import_flow(ImportFlowSettings(file=str(write_log(folder, classes, per_class, predict))), home)
    page = Path(report(ReportSettings(), home))
    assert said in plain(page)
    return page


def test_only_the_page_beside_the_flow_page_links_to_it(tmp_path: Path, empty_tracker: Path) -> None:
    """The report's own run has no such page, and MLflow would show a blank one."""
    home = fresh(tmp_path, empty_tracker)
    classes, per_class, predict, _ = STATES["one_class_receives_all"]
    import_flow(ImportFlowSettings(file=str(write_log(tmp_path, classes, per_class, predict))), home)
    source = resolve(home, "latest")
    (home.run_folder(source.run_id) / "flow.html").write_text("a page")
    page = Path(report(ReportSettings(), home)).read_text()
    copy = home.run_folder(resolve(home, "latest", ("report",)).run_id) / "report.html"
    assert re.search(r'href="flow.html#to=2&amp;cell=\[\d,7\]"', page)
    assert "flow.html#" not in copy.read_text()
    assert "has no page yet" not in copy.read_text()


def test_a_page_is_short_and_whole(state: Path) -> None:
    page = Visible(state)
    assert len(page.words) <= 1400
    assert (page.open, page.empty) == ([], [])
    assert not [name for name in page.attributes if name == "style" or name.startswith("on")]
    answers, leads = ([len(text.split()) for text in texts] for texts in (page.answers, page.leads))
    assert len(answers) == 3
    assert max(answers) <= 60, page.answers
    assert 0 < min(leads) <= max(leads) <= 20, page.leads
    assert page.headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(page.headings))


def test_no_sentence_has_a_hole(state: Path) -> None:
    """No value that is not there, no mark after a space, nothing in brackets that are empty."""
    text = " ".join(Visible(state).words)
    assert not re.search(r"\b(none|nan|undefined) %| [,.;:)]|\(\)|\( ", text, re.IGNORECASE), text
    assert not re.search(r"\b(None|nan|undefined)\b", plain(state).partition(" Appendix ")[0])


def test_no_chart_is_empty(state: Path) -> None:
    charts = re.findall(r'<svg class="chart.*?</svg>', state.read_text(), re.DOTALL)
    assert charts
    assert all(re.search(r"<rect|(fill|stroke)-s\d", chart) for chart in charts)  # data alone has such a colour


@in_browser
def test_a_page_has_six_sheets_and_fits_a_phone(full: Path, browser) -> None:
    browser.set_window_size(400, 900)
    browser.get(full.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"]
    assert 1 <= len(re.findall(rb"/Type\s*/Page[^s]", base64.b64decode(printed))) <= 6
