"""`study figure`: each figure in each format, with its caption; wrong input is one line."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipelines.common.settings import CompareSettings, ExplainSettings, FigureSettings, ImportFlowSettings
from pipelines.comparing.compare import compare
from pipelines.drawing.style import DOUBLE, PAGE, SINGLE, draw
from pipelines.explaining.explain import explain
from pipelines.instanceflow.import_log import import_flow
from pipelines.pages.embedding import VARIABLES, embed
from pipelines.pages.pictures import Pictures
from pipelines.reporting import subject
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.figure import save_figure
from pipelines.reporting.figure_catalogue import FIGURES
from pipelines.reporting.figure_predictions import choose_evenly
from pipelines.reporting.figure_request import make_request
from support.commands import study_command
from support.drawn import faults
from support.homes import TINY, fresh
from tracking.catalogue import resolve
from tracking.home import Home, find_home
from tracking.reading import connect

SVG = "{http://www.w3.org/2000/svg}"
ALONE = ("fixed-and-broken", "flow")  # figures that an imported log gives beside those of one epoch


@pytest.fixture(scope="module")
def home(make_once: Callable, trained_home: Callable) -> Home:
    """A home with everything that a figure may show: maps of several epochs, a comparison, concepts."""

    def make(folder: Path) -> None:
        home = trained_home(folder, replace(TINY, epochs=2))
        run = resolve(home, "latest").run_id
        shown = {"run": run, "instances": "0,1,2,3,4,5"}
        explain(ExplainSettings(**shown, method=("saliency", "occlusion"), epochs="0,1,2"), home)
        explain(ExplainSettings(**shown, method=("ice",), epochs="1,2", concepts=2), home)
        compare(CompareSettings(run=run, randomization_count=0, shortcut_count=4), home)

    return find_home(str(make_once("figures", make) / "study"))


@pytest.fixture(scope="module")
def log(make_once: Callable, empty_tracker: Path) -> Home:
    """A home with an imported log of 100 classes."""

    def make(folder: Path) -> None:
        home = fresh(folder, empty_tracker)
        count = 300
        content = {
            "name": "log", "labels": [f"a class with a long name, no. {i}" for i in range(100)],
            "instances": [{"id": f"i{i}", "actual": i % 100} for i in range(count)],
            "epochs": [
                {"id": str(e), "classifications": [(i + (i * e) % 7) % 100 for i in range(count)]} for e in range(4)
            ],
        }  # fmt: skip
        (folder / "log.json").write_text(json.dumps(content))
        import_flow(ImportFlowSettings(file=str(folder / "log.json")), home)

    return find_home(str(make_once("figures_log", make) / "study"))


def gathered(home: Home, name: str, style=SINGLE, **chosen):
    """The drawn figure and its caption."""
    settings = FigureSettings(name=name, **chosen)
    with connect(home) as connection:
        run = resolve(home, settings.run)
        request = make_request(settings, home, run, connection, style)
        content = FIGURES[name].gather(request)
        return draw(FIGURES[name].draw, style, *content.values, **content.options), request.complete(content)


@pytest.mark.parametrize("style", [SINGLE, DOUBLE], ids=["single", "double"])
@pytest.mark.parametrize("name", [name for name in FIGURES if name != "shortcut-images"])
def test_every_figure_fits_in_every_format(home: Home, name: str, style, tmp_path: Path) -> None:
    drawn, caption = gathered(home, name, style)
    run = resolve(home, "latest")
    assert f"Run {run.name} ({run.run_id[:8]})" in caption
    assert re.search(r", epochs? \d", caption) or name == "shortcuts"
    assert ("split test" in caption) is (name not in ("accuracy", "learning-curves"))
    for file_format in ("svg", "pdf", "png") if style is SINGLE else ():
        file = tmp_path / f"figure.{file_format}"
        file.write_bytes(save_figure(drawn, file_format, name, caption, style.width))
        check_file(file, caption, style.width)
    assert faults(drawn) == []
    assert drawn.get_figwidth() <= style.width + 1e-6


@pytest.mark.parametrize("name", [*ALONE, "accuracy", "class-accuracy", "confusion", "pair-flow"])
def test_a_log_of_100_classes_fits(log: Home, name: str) -> None:
    drawn, _ = gathered(log, name)
    assert faults(drawn) == []
    assert drawn.get_figheight() < 9


@pytest.mark.parametrize("file_format", ["svg", "pdf", "png"])
def test_a_file_is_the_same_each_time(home: Home, file_format: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"accuracy-{resolve(home, 'latest').run_id[:8]}.{file_format}"
    contents = []
    for _ in range(2):
        code, out, err = study_command(capsys, "figure", "accuracy", "--format", file_format, "--home", home.path)
        assert (code, out) == (0, f"{file.name}\n")
        check_file(file, err.strip(), SINGLE.width)
        contents.append(file.read_bytes())
        file.unlink()
    assert contents[0] == contents[1]


def check_file(file: Path, caption: str, width: float) -> None:
    """It is as wide as asked, text is text, fonts are TrueType, and the caption is in the metadata; width in inches."""
    if file.suffix == ".svg":
        tree = ElementTree.parse(file)
        assert float(tree.getroot().get("width").removesuffix("pt")) == pytest.approx(72 * width, abs=0.1)
        assert caption in [element.text for element in tree.iter("{http://purl.org/dc/elements/1.1/}description")]
        sizes = [
            re.search(r"(?:font-size|font): ([\d.]+)px", text.get("style", "")) for text in tree.iter(f"{SVG}text")
        ]
        assert sizes
        assert all(size and float(size[1]) >= 6 for size in sizes)
        assert "<dc:date>" not in file.read_text()
    elif file.suffix == ".pdf":
        content = file.read_bytes()
        [box] = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) [\d.]+ \]", content)
        assert float(box) == pytest.approx(72 * width, abs=0.1)
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert b"/CreationDate" not in content
    else:
        with Image.open(file) as picture:
            assert picture.info["dpi"][0] == pytest.approx(300, abs=1)
            assert picture.width == pytest.approx(300 * width, abs=2)
            assert picture.info["Description"] == caption


def test_without_a_name_it_lists_what_the_run_can_give(home: Home, log: Home, capsys) -> None:
    code, out, _ = study_command(capsys, "figure", "--home", home.path)
    assert code == 0
    for name, kind in FIGURES.items():
        [line] = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert kind.summary in line
        assert line.endswith("no shortcut that is found on split test" if name == "shortcut-images" else "yes")
    code, by_run, _ = study_command(capsys, "figure", resolve(home, "latest").name, "--home", home.path)
    assert (code, by_run) == (0, out)
    code, out, _ = study_command(capsys, "figure", "--home", log.path)
    [line] = [line for line in out.splitlines() if line.startswith("calibration ")]
    assert line.endswith("no probabilities")


@pytest.mark.parametrize(("arguments", "said"), [
    (["nothing"], "no figure 'nothing'; there are: accuracy, "),
    (["nothing", "other"], "no figure 'nothing'; there are: accuracy, "),
    (["confuson"], "no figure 'confuson'; did you mean confusion? There are: accuracy, "),
    (["confusion,flwo"], "no figure 'flwo'; did you mean flow? There are: accuracy, "),
    (["confusion,flow", "--epoch", "1"], "figure flow takes no --epoch; it takes --split, --epochs"),
    (["confusion,flow", "--output", "a.svg"], "--output is one file, and these are 2 figures; leave it out, or name"),
    (["confusion", "compare"], "run * is of kind compare, needed is train or import or improve; name run *"),
    (["compare"], "run * is of kind compare, needed is train or import or improve; name run *"),
    (["maps", "--instances", "0,99999"], "split test has no image 99999; `study sql"),
    (["confusion", "other"], "no run 'other'"),
    (["confusion", "--epoch", "9"], "--epoch is 9, and this figure has only epochs 0, 1, 2"),
    (["accuracy", "--epoch", "1"], "figure accuracy takes no --epoch; it takes --split, --epochs"),
    (["confusion", "--data", "a"], "figure confusion takes no --data; it takes --split, --epoch"),
    (["accuracy", "--epochs", "2-1"], "--epochs is '2-1'; it takes a range such as 2-10"),
    (["accuracy", "--epochs", "8-9"], "--epochs is 8-9, and nothing of this figure lies in that range"),
    (["flow", "--epochs", "8-9"], "--epochs is 8-9, and only epochs 0 to 2 are logged"),
    (["faithfulness", "--method", "magic"], "no method 'magic'; there are: saliency"),
    (["faithfulness", "--method", "shap"], "this figure has no maps of shap; it has those of: saliency, occlusion"),
    (["agreement", "--method", "saliency", "--epoch", "1", "--split", "val"], "run * has no maps of two methods"),
    (["faithfulness", "--split", "val"], "run * has no comparison of methods on split val; to make it: study explain"),
    (["maps", "--instances", "7"], "image 7 of split test has no maps for this figure; some that have: 0, 1, 2, 3, 4"),
    (["maps", "--epoch", "7"], "run * has no maps of split test at epoch 7 (there are some at 0, 1, 2); to make it: "),
    (["map-history", "--instances", "1,2"], "map-history shows one image; give --instances one"),
    (["map-history", "--epochs", "1-1"], "--epochs is '1-1'; it takes a range such as 2-10"),
    (["shortcut-images"], "run * has no shortcut that is found on split test"),
    (["accuracy", "--split", "nowhere"], "run * has no predictions of labelled images of split 'nowhere'"),
    (["accuracy", "--output", "a/b/c.svg"], "cannot write 'a/b/c.svg': there is no folder 'a/b'"),
    (["accuracy", "--output", "a.jpg"], "--output 'a.jpg' does not end in .svg, .pdf or .png"),
    (["accuracy", "--output", "a.svg", "--format", "png"], "--output ends in .svg and --format is png; make them"),
    (["accuracy", "--format", "jpg"], "argument --format: invalid choice: 'jpg'"),
])  # fmt: skip
def test_wrong_input_is_one_line(home: Home, arguments: list[str], said: str, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = study_command(capsys, "figure", *arguments, "--home", home.path)
    assert (code, out) == (2, "")
    [line] = err.strip().splitlines()
    assert re.match(re.escape(f"study: {said}").replace(r"\*", r"\w+"), line)
    assert list(tmp_path.iterdir()) == []


def test_several_figures_at_once_and_a_run_behind_flags(home: Home, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = resolve(home, "latest").run_id
    code, out, err = study_command(
        capsys, "figure", "confusion,class-history", "--format", "svg", run, "--home", home.path
    )
    assert (code, out) == (0, f"confusion-{run[:8]}.svg\nclass-history-{run[:8]}.svg\n")
    captions = err.strip().splitlines()
    assert len(captions) == 2
    for name, caption in zip(out.split(), captions, strict=True):
        check_file(tmp_path / name, caption, SINGLE.width)


def test_all_figures_are_those_that_a_run_can_give(log: Home, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = study_command(capsys, "figure", "all", "--format", "svg", "--home", log.path)
    assert code == 0
    written = [name.rsplit("-", 1)[0] for name in out.split()]
    assert written == [name for name in FIGURES if f"no {name}: run" not in err]
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(out.split())
    assert {"confusion", "class-history", "flow"} <= {*written}
    assert "no maps: run" in err


def test_accuracy_of_each_class_is_what_its_predictions_say(home: Home) -> None:
    """The class with the lowest accuracy at the end comes first; the dashed line is all images together."""
    drawn, caption = gathered(home, "class-history")
    with connect(home) as connection:
        right = """
            select label, epoch, avg((predicted = label)::int) from predictions
            where split = 'test' group by all order by epoch
        """
        rows = connection.execute(right).fetchall()
        whole = (
            "select avg((predicted = label)::int) from predictions where split = 'test' group by epoch order by epoch"
        )
        everything = [value for (value,) in connection.execute(whole).fetchall()]
    by_class: dict[int, list[float]] = {}
    for label, _, accuracy in rows:
        by_class.setdefault(label, []).append(accuracy)
    hardest = sorted(by_class, key=lambda label: (by_class[label][-1], label))
    panels = [axes for axes in drawn.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [str(label) for label in hardest]
    for axes, label in zip(panels, hardest, strict=True):
        dashed, line = axes.lines
        assert line.get_ydata() == pytest.approx(by_class[label])
        assert dashed.get_ydata() == pytest.approx(everything)
    assert "Wilson" in caption


def test_the_epochs_of_a_flow_are_named(log: Home) -> None:
    _, caption = gathered(log, "flow", epochs="1-3")
    assert "at 3 of 3 epochs, drawn to scale" in caption
    assert "epochs 1, 2 and 3," in caption


@pytest.mark.parametrize(("count", "most", "chosen"), [
    (11, 6, [0, 2, 4, 6, 8, 10]),
    (11, 11, [*range(11)]),
    (62, 6, [0, 12, 24, 37, 49, 61]),  # 61 is prime
    (3, 6, [0, 1, 2]),
])  # fmt: skip
def test_chosen_epochs_are_equally_far_apart_where_they_can_be(count: int, most: int, chosen: list[int]) -> None:
    assert choose_evenly(range(count), most) == chosen


def test_a_figure_of_faithfulness_says_its_level_its_images_and_the_question_with_the_same_verdicts(home: Home) -> None:
    drawn, caption = gathered(home, "faithfulness")
    level = VERDICTS["beats_random"].level
    assert f"study ask faithfulness_by_method --level {level}" in caption
    assert "On fewer than 20 images a mean has neither interval nor verdict." in caption  # these are 6
    assert all(axes.get_xlabel().endswith("n = 6") for axes in drawn.axes if axes.get_visible())


def test_figures_of_concepts_say_their_test_and_name_concepts_whole(home: Home) -> None:
    for name in ("concepts", "concept-classes"):
        drawn, caption = gathered(home, name)
        assert f"level {VERDICTS['concepts'].level}" in caption
        assert "family-wise over all 2 concepts and 10 classes" in caption
        assert re.search(r", n = \d+", caption)
        words = [text.get_text() for axes in drawn.axes for text in (*axes.texts, *axes.get_yticklabels())]
        named = [text for text in words if text.startswith("concept ")]
        assert len(named) == 2
        assert not any("…" in text for text in named)


def test_one_split_alone(home: Home) -> None:
    for name in ("accuracy", "learning-curves"):
        drawn, caption = gathered(home, name, split="val")
        assert "split val" in caption
        [legend] = drawn.legends
        assert [text.get_text() for text in legend.get_texts()] == ["validation"]


def test_a_home_without_runs_lists_the_figures(tmp_path: Path, capsys) -> None:
    code, out, err = study_command(capsys, "figure", "--home", tmp_path / "none")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == [*FIGURES]
    assert err == "there is no run yet; `study run` makes one\n"


def test_without_its_images_a_run_has_no_maps_to_show(home: Home, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.Subject, "pictures", Pictures(why_none="they moved; name them with --data"))
    code, out, _ = study_command(capsys, "figure", "--home", home.path)
    assert code == 0
    [line] = [line for line in out.splitlines() if line.startswith("maps ")]
    assert line.endswith("no images that can be read: they moved; name them with --data")


def test_no_file_is_replaced(home: Home, tmp_path: Path, capsys) -> None:
    file = tmp_path / "a.svg"
    file.write_text("mine")
    code, _, err = study_command(capsys, "figure", "accuracy", "--output", file, "--home", home.path)
    assert code == 2
    assert "exists already and is not replaced" in err
    assert file.read_text() == "mine"


def test_the_page_has_the_drawing_in_its_own_colours(home: Home) -> None:
    drawn, _ = gathered(home, "accuracy", PAGE)
    svg = ElementTree.fromstring(embed(drawn, "Accuracy <by> epoch"))
    assert svg.get("aria-label") == "Accuracy <by> epoch"
    assert "Accuracy (%)" in [element.text for element in svg.iter("text")]
    known = {f"{paint}-{name}" for paint in ("fill", "stroke") for name in VARIABLES.values()}
    used = {name for element in svg.iter() for name in element.get("class", "").split()} - {"chart"}
    assert {"fill-ink", "stroke-s1", "stroke-s2"} <= used <= known
    assert not [element for element in svg.iter() if element.get("style")]
    style = Path("pipelines/pages/templates/page.css").read_text()
    assert [name for name in known if f".{name} {{" not in style] == []
    places = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", " ".join(path.get("d") for path in svg.iter("path")))
    width, height = map(float, svg.get("viewBox").split()[2:])
    assert np.array(places, float).min() > -2
    assert (np.array(places, float).max(0) <= np.array([width, height]) + 2).all()
