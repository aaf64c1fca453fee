# On a new machine: `make demo` makes finished training shards of the sample, `make check test` checks the code.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo dev test test-all check format bench docs pictures links build clean

demo: $(READY)
	$(BIN)/vsumdata run --manifest sample --stage crawl,asr,features,thumbnails --root work/sample
	$(BIN)/vsumdata status --root work/sample
	$(BIN)/vsumdata verify --root work/sample

dev: $(READY)

# The file .ready tells that the environment was installed: make installs again when what is required has changed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "vsumdata needs Python 3.11 or newer; this is `$(PYTHON) -V`: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[offline,dev,labels,llm,publish,track]'
	@touch $@

# Two files at a time. A run of the program on Ray leaves a core idle for half of its time, so they go side by side.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not gpu and not network"

# The long forms of the tests: more kills, and the proofs of learning at the sizes of tests/bench.
test-all: $(READY)
	$(BIN)/python -m pytest --kills 10 --full

check: $(READY) links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=build/links $(BIN)/lint-imports --no-logo --no-cache

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All benches take hours: `make bench ONLY="kts evaluate"` runs some. Their figures go to docs/results.json and results.md.
bench: $(READY)
	$(BIN)/python tests/bench/results.py run $(ONLY)

# Writes docs/tables.md and docs/settings.md from the schemas and the settings' descriptions.
docs: $(READY)
	$(BIN)/python -m vsumdata.pipeline.reports.reference docs

# The pictures of README, from the sample; it needs Debian's chromium.
pictures: $(READY)
	$(BIN)/python docs/images/make.py

# The folders are imported as vsumdata.NAME. mypy and import-linter find them under these names through links.
links:
	@mkdir -p build/links/vsumdata
	@for folder in pipeline stages manifests datasets train; do ln -sfn ../../../$$folder build/links/vsumdata/$$folder; done
	@for file in __init__.py py.typed; do ln -sfn ../../../$$file build/links/vsumdata/$$file; done

# dist must be empty, and `python -m build`, not `pip wheel .`: run twice, that ships files deleted in between.
build: $(READY)
	rm -rf dist
	$(BIN)/python -m build

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
