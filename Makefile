# Two commands: `make demo` and `make test`. Everything they need is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 2.5
OUT ?= demo-run

.PHONY: help install demo test bench clean

help:
	@echo "make demo              sample, train, predict, evaluate, report, in under 5 minutes"
	@echo "make demo DATA=path    the same on your own folder of images and masks"
	@echo "make test              lint, types, layers and tests"
	@echo "make bench             the benchmarks; results in benchmarks/results/"

# The stamp is renewed when a requirement changes, so a second call starts at once.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[test]'
	touch $@

install: $(VENV)/installed

demo: $(VENV)/installed
	$(BIN)/maskwright demo $(if $(DATA),"$(DATA)") --out "$(OUT)" --minutes $(MINUTES) --overwrite

test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

bench: $(VENV)/installed
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/predict.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info
