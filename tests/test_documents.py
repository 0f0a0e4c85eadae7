"""The README names everything there is, and nothing that is not."""

import re

import pytest

import queries
from pipelines.commands import COMMANDS
from pipelines.common.checked_settings import flag_name
from pipelines.common.settings import TrainSettings
from pipelines.data.datasets import FORMS
from support.places import ROOT
from xai import CONCEPT_METHODS, METHODS

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("[!.]*/**/README.md")), ROOT / "CONTRIBUTING.md"]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in DOCUMENTS}
LONGEST_README = 1_500  # words: what a stranger reads in six minutes


@pytest.mark.parametrize(("document", "rows"), [
    ("pipelines/README.md", [f"| `study {name}" for name in COMMANDS]),
    ("queries/README.md", [f"`{name}`" for name in queries.NAMES]),
    ("xai/README.md", [f"| `{x.name}` | {x.summary} | {x.cited} |" for x in (METHODS | CONCEPT_METHODS).values()]),
    ("pipelines/data/README.md", [f"| `{name}` |" for name in FORMS]),
])  # fmt: skip
def test_tables_name_all(document: str, rows: list[str]) -> None:
    table = "\n".join(line for line in TEXTS[document].splitlines() if line.startswith("|"))
    assert [row for row in rows if row not in table] == []


def test_help_names_all_data_sets() -> None:
    help_text = TrainSettings.__dataclass_fields__["dataset"].metadata["help"]
    assert re.findall(r"[\w:.]+(?=,| or|$)", help_text) == list(FORMS)


def test_readme_is_short() -> None:
    assert len(TEXTS["README.md"].split()) <= LONGEST_README


@pytest.mark.parametrize("document", TEXTS)
def test_only_commands_that_exist_are_named(document: str) -> None:
    assert set(re.findall(r"(?:^|[`(])study ([a-z][\w-]*)", TEXTS[document], re.M)) <= set(COMMANDS)


@pytest.mark.parametrize("document", TEXTS)
def test_only_questions_that_exist_are_named(document: str) -> None:
    assert set(re.findall(r"study ask ([a-z_]+)", TEXTS[document])) <= set(queries.NAMES)


@pytest.mark.parametrize("document", TEXTS)
def test_only_flags_that_exist_are_named(document: str) -> None:
    lines = [line for line in TEXTS[document].splitlines() if re.match(r"\s*(\w+=\$\()?study train", line)]
    flags = {flag for line in lines for flag in re.findall(r"--([a-z-]+)", line)}
    assert flags - {"home"} <= {flag_name(name).removeprefix("--") for name in TrainSettings.__dataclass_fields__}


@pytest.mark.parametrize("document", TEXTS)
def test_linked_files_exist(document: str) -> None:
    places = re.findall(r"\]\((?!http)([^)#]+)", TEXTS[document])
    assert [place for place in places if not (ROOT / document).parent.joinpath(place).exists()] == []


@pytest.mark.parametrize("document", TEXTS)
def test_linked_headings_exist(document: str) -> None:
    for place, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", TEXTS[document]):
        text = (ROOT / document).parent.joinpath(place).read_text() if place else TEXTS[document]
        anchors = [
            re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)
        ]
        assert anchor in anchors, f"{place}#{anchor}"
