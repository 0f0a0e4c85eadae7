"""The README names everything there is, and nothing that is not."""

import re

import pytest

import queries
from pipelines.cli import COMMANDS
from pipelines.common.settings import TrainSettings
from pipelines.data.datasets import DATASETS
from support.places import ROOT
from xai import CONCEPT_METHODS, METHODS

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("kind", "names"), [
    ("commands", [f"study {name}" for name in COMMANDS]),
    ("questions", [f"`{name}`" for name in queries.NAMES]),
    ("methods", [f"| `{one.name}` | {one.summary} | {one.cited} |" for one in (METHODS | CONCEPT_METHODS).values()]),
    ("data sets", [f"`{name}`" for name in DATASETS]),
])  # fmt: skip
def test_readme_names_all(kind: str, names: list[str]) -> None:
    assert [name for name in names if name not in README] == []


def test_help_names_all_data_sets() -> None:
    help_text = TrainSettings.__dataclass_fields__["dataset"].metadata["help"]
    assert re.findall(r"[\w:]+(?=,| or|$)", help_text) == list(DATASETS)


def test_readme_uses_only_commands_that_exist() -> None:
    assert set(re.findall(r"(?:^|[`(])study ([\w-]+)", README, re.M)) <= set(COMMANDS)


def test_readme_uses_only_flags_that_exist() -> None:
    lines = [line for line in README.splitlines() if re.match(r"\s*(\w+=\$\()?study train", line)]
    flags = {flag for line in lines for flag in re.findall(r"--([a-z-]+)", line)}
    assert flags - {"home"} <= {name.replace("_", "-") for name in TrainSettings.__dataclass_fields__}


def test_files_named_in_the_readme_exist() -> None:
    places = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(places) >= 3
    assert [place for place in places if not (ROOT / place).exists()] == []
