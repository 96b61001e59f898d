# Two commands do everything on a machine with Python 3.11 or newer: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
WORKERS := -n 2 --dist worksteal

.PHONY: demo test coverage lint types docs all-tests clean

demo: .venv/ready  ## five real peers on a ring learn to draw ten digits; each holds two
	rm -rf runs/demo
	$(BIN)/peer up --topology examples/ring.yaml --run-dir runs/demo --baselines --live 0 \
		--set metrics.pictures_every=50

test: .venv/ready  ## the tests that every change must pass
	$(BIN)/python -m pytest $(WORKERS) -m "not slow" $(COVERAGE)

coverage: COVERAGE := --cov
coverage: test  ## the same tests, and how much they run of the code: no less than pyproject says

all-tests: .venv/ready  ## the long ones, too
	$(BIN)/python -m pytest $(WORKERS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

docs: .venv/ready  ## the site, in build/docs; a warning is an error
	$(BIN)/python -m sphinx -b html -E -W --keep-going -n -q docs build/docs
	@echo "the site is build/docs/index.html"

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hearsay needs Python 3.11 or newer; say make PYTHON=python3.x")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch .venv/ready

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .coverage
