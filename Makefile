# make study: set everything up and run the main job on the embedded data. make test: set up and test.
PYTHON ?= python3
STUDY := .venv/bin/study

.PHONY: install study test ui
install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable ".[test]"
	touch $@

study: install
	$(STUDY) run

test: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

ui: install
	$(STUDY) ui
