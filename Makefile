# Everything that is done with this project, by name.

PYTHON ?= python3
VENV := .venv
UV ?= uv
# The newest Python that the whole suite is run on.
NEWEST ?= python3.13
COMPILE = $(UV) pip compile --universal --python-version 3.11 --upgrade \
    --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet
BIN := $(VENV)/bin
# Training looks for the wheel here, to store it with each model.
WHEELS := $(VENV)/share/labelwright
PACKAGE := $(shell find -L labelwright -name __pycache__ -prune -o -type f -print)
KERNELS := $(shell find models -name '*.py')
DATA ?= ../shared/data
export LABELWRIGHT_DATA ?= $(DATA)
# One more than there are cores: tests often wait, for processes to start and to end.
TESTERS ?= $(shell $(BIN)/python -c 'from labelwright.processors import usable; print(1 + usable())')

.PHONY: help install demo test test-integration test-nightly bench-quality bench-speed bench-overload \
    bench-parts bench-training bench-scaling bench-memory bench-open-world bench-swaps soak fuzz audit \
    check format requirements reference brands osm-labels clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

install: $(VENV)/.wheel $(VENV)/.kernels ## .venv/bin/labelwright, its wheel, and compiled kernels

demo: install ## train on the embedded brands, then serve on port 8000 and the MLflow UI on 5000
	@$(BIN)/labelwright demo

test: install $(VENV)/.developing ## all fast tests: about 5 minutes on 2 cores
	$(BIN)/pytest -n $(TESTERS)

test-integration: install $(VENV)/.developing ## a fresh Debian, other servers, browsers: long
	$(BIN)/pytest -m "integration and not nightly" --timeout 1800

test-nightly: install $(VENV)/.developing ## kills in the hundreds, image builds, the suite on $(NEWEST): an hour
	LABELWRIGHT_NIGHTLY=1 $(BIN)/pytest -m "nightly or repeated" --timeout 3600
	$(NEWEST) -m venv build/newest
	build/newest/bin/pip install --quiet --require-hashes -r requirements/dev.txt
	build/newest/bin/pip install --quiet --no-deps --no-build-isolation -e .
	build/newest/bin/python -m pytest -n $(TESTERS)

bench-open-world: $(VENV)/.developing ## what it changes that unknown is not absent
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.open_world

bench-quality: $(VENV)/.developing ## quality, time and memory beside the peers: hours (ARGS="--sets bibtex")
	$(BIN)/python -m benchmarks.quality $(ARGS)

bench-speed: $(VENV)/.developing ## how fast labels are made: 20 minutes (ARGS="--model models:/places@champion")
	$(BIN)/python -m benchmarks.speed $(ARGS)

bench-overload: $(VENV)/.developing ## goodput at ten times the capacity: minutes (ARGS="--model URI")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.overload $(ARGS)

bench-parts: $(VENV)/.developing ## gain of hand-written parts of the service: 15 minutes (ARGS="--model models:/brands@champion")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.parts $(ARGS)

bench-training: $(VENV)/.developing ## how the cost of training grows with rows and labels: an hour
	$(BIN)/python -m benchmarks.training_cost $(ARGS)

bench-scaling: $(VENV)/.developing ## labelling on a cluster, worked out from its steps (ARGS="--model models:/places@champion")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.scaling $(ARGS)

bench-memory: $(VENV)/.developing ## training on 10 million rows within a limit of memory: an hour
	$(BIN)/python -m benchmarks.training_memory $(ARGS)

bench-swaps: $(VENV)/.developing ## 1,000 swaps of the model under load: minutes (ARGS="--model models:/brands@champion")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.swaps $(ARGS)

soak: $(VENV)/.developing ## the service at 80% of its capacity, with swaps and kills: half an hour (ARGS="--model URI")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: $(VENV)/.developing ## a million hostile inputs: hours (ARGS="--inputs 100000")
	OMP_WAIT_POLICY=passive $(BIN)/python -m tests.fuzz --output benchmarks/results/fuzz.md $(ARGS)

audit: ## known vulnerabilities of the pinned packages (asks the service that pip-audit uses)
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet pip-audit
	for pins in requirements/*.txt; do \
	    build/audit/bin/pip-audit --strict --require-hashes --disable-pip -r $$pins || exit; \
	done

check: $(VENV)/.developing ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.developing ## rewrite the code in the house's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

requirements: ## pin the newest versions of all dependencies, with hashes (needs uv)
	$(COMPILE) pyproject.toml --extra train --extra tracing --group build --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra train --group build -c requirements/dev.txt -o requirements/train.txt
	$(COMPILE) pyproject.toml --extra tracing -c requirements/dev.txt -o requirements/serve.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	for peer in $(basename $(wildcard benchmarks/requirements/*.in tests/*/requirements/*.in)); do \
	    $(COMPILE) $$peer.in --override benchmarks/requirements/overrides.txt -o $$peer.txt || exit; \
	done
	$(COMPILE) tests/integration/requirements/kserve.in -o tests/integration/requirements/kserve.txt

reference: $(VENV)/.developing ## make docs/reference.md from the code
	$(BIN)/python -m tests.docs.reference

brands: install ## rebuild the embedded data set from its npm package (needs npm)
	npm pack --silent --pack-destination $(VENV) name-suggestion-index@8.0.20260918
	$(BIN)/python -m labelwright.entities.importers.brands $(VENV)/name-suggestion-index-8.0.20260918.tgz \
	    entities/data/brands.parquet

osm-labels: install ## rebuild the titles of OpenStreetMap's labels from their npm package (needs npm)
	npm pack --silent --pack-destination $(VENV) @openstreetmap/id-tagging-schema@7.2.0
	$(BIN)/python -m labelwright.entities.importers.osm_labels \
	    $(VENV)/openstreetmap-id-tagging-schema-7.2.0.tgz entities/data/osm_labels.parquet

clean: ## remove what was installed and cached here
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.installed: requirements/train.txt pyproject.toml deploy/prerequisites.sh
	@PYTHON=$(PYTHON) deploy/prerequisites.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/train.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# The same code gives the same bytes: the times in a wheel are fixed.
$(VENV)/.wheel: $(VENV)/.installed $(PACKAGE) pyproject.toml README.md LICENSE NOTICE
	@rm -rf $(WHEELS)
	@SOURCE_DATE_EPOCH=1580601600 $(BIN)/python -m hatchling build --target wheel --directory $(WHEELS)
	@touch $@

$(VENV)/.kernels: $(VENV)/.installed $(KERNELS)
	@$(BIN)/python -m labelwright.compile_kernels
	@touch $@

$(VENV)/.developing: $(VENV)/.installed requirements/dev.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
