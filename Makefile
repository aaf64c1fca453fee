# make demo: a new machine to finished training shards.   make test: the tests.   See README.md.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo dev test check format bench links build clean

demo: $(READY)
	$(BIN)/vsumdata run --manifest sample --stage crawl,asr,features --root work/sample
	$(BIN)/vsumdata status --root work/sample
	$(BIN)/vsumdata verify --root work/sample

dev: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "vsumdata needs Python 3.11 or newer; this is `$(PYTHON) -V`: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[offline,dev]'
	@touch $@

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY) links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	for script in tests/bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# mypy sees the packages under the name that they are imported by
links:
	@mkdir -p build/links/vsumdata
	@for folder in pipeline stages manifests datasets train; do ln -sfn ../../../$$folder build/links/vsumdata/$$folder; done

build: $(READY)
	rm -rf dist
	$(BIN)/python -m build

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
