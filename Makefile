# make study: set everything up and run the whole study on the embedded data. make test: set everything up and test.
PYTHON ?= python3
STUDY := .venv/bin/study

.PHONY: study test ui

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable .
	touch $@

.venv/installed-for-tests: .venv/installed
	.venv/bin/pip install --quiet --editable ".[test]"
	touch $@

study: .venv/installed
	$(STUDY) run

test: .venv/installed-for-tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

ui: .venv/installed
	$(STUDY) ui
