# Every command of the lab. `make reproduce` and `make test` each work first thing on a machine with Python and make.

PRESET ?= quick
DATA_DIR ?= data
RESULTS ?= results
PYTHON ?= python3
PAPER ?=
VENV := .venv
PY ?= $(VENV)/bin/python
# make CONSTRAINTS= installs the newest versions that requirements.txt allows (another CUDA build of torch, say).
CONSTRAINTS ?= constraints.txt
PINNED := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
# With a python of your own (PY=...) nothing is installed: figures need numpy, pandas, scipy, matplotlib, seaborn, jinja2.
READY := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/.runs)
export DATA_DIR PY
# With it set, python -m would not find the lab's own modules.
unexport PYTHONSAFEPATH
ifneq ($(words $(RESULTS) $(DATA_DIR) .),3)
  $(error RESULTS and DATA_DIR must be paths without blanks here, as make splits words at them; launchers take them: --results-dir 'my results')
endif

.DEFAULT_GOAL := help
.PHONY: always new-paper help setup setup-dev reproduce analysis report test test-all test-processors test-gpu check lint verify calibrate bench mi-table reference tables clean

help: ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo "  PAPER=<folder> restricts reproduce, analysis, verify and bench; PRESET=smoke|quick|paper; DATA_DIR=<folder>"

# ---- setting up: .venv with the tested versions (constraints.txt); done again only when the lists change

setup: $(READY) ## make .venv and install what running needs
setup-dev: $(VENV)/.develops

$(VENV)/.runs: requirements.txt requirements-infolab.txt $(CONSTRAINTS)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing requirements.txt into $(VENV) (some minutes the first time) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt $(PINNED)
	@touch $@

$(VENV)/.develops: requirements-dev.txt requirements-extras.txt $(VENV)/.runs
	@echo "installing requirements-dev.txt into $(VENV) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt $(PINNED)
	@touch $@

# ---- experiments: every launcher skips what is finished, so this may be stopped and started again

reproduce: setup ## run everything at PRESET, then figures and report
	@PRESET=$(PRESET) PAPER=$(PAPER) RESULTS=$(RESULTS) MAKE="$(MAKE)" sh scripts/reproduce.sh

# Python decides what has changed. It writes its state only when something has, which is what the report looks at.
FIGURES := $(PY) -m scripts.figures --results-dir $(RESULTS)
STATE := $(RESULTS)/figures/.state/products.json

analysis: $(STATE) ## draw the figures and tables whose CSVs changed
report: $(RESULTS)/report.html ## collect everything in results/report.html

$(STATE): always | $(READY)
	@$(FIGURES) $(if $(PAPER),--paper $(PAPER))
$(RESULTS)/report.html: $(STATE) scripts/report.py scripts/report.html.j2
	@$(PY) -m scripts.report --results-dir $(RESULTS)
# A figure or table can be asked for by its file.
$(RESULTS)/figures/%: always | $(READY)
	@$(FIGURES) $(basename $(notdir $@))
$(RESULTS)/tables/%: always | $(READY)
	@$(FIGURES) $(basename $(notdir $@))

verify: setup ## set your results beside results/reference
	@$(PY) -m scripts.verify --results-dir $(RESULTS) $(if $(PAPER),--paper $(PAPER))

reference: setup ## (for maintainers) make your results the reference
	@$(PY) -m scripts.make_reference --results-dir $(RESULTS) $(if $(PAPER),--paper $(PAPER))

calibrate: setup ## every estimator on distributions with known answers
	@$(PY) -m benchmarks.calibrate --results-dir $(RESULTS) && $(PY) -m benchmarks.coverage --results-dir $(RESULTS)

bench: setup ## speed beside plain references of the published algorithms
	@$(PY) -m benchmarks.run --results-dir $(RESULTS) $(if $(PAPER),--paper $(PAPER))

mi-table: setup ## mutual information on distributions with known answers: every estimate, 30 minutes on two cores
	@PY=$(PY) sh itdiffusion/run_mi.sh paper --results-dir $(RESULTS) --data-dir $(DATA_DIR)
	@$(MAKE) --no-print-directory analysis PAPER=itdiffusion

new-paper: setup-dev ## NAME=x: a folder for another paper with a study that runs, is tested and drawn
	@$(PY) -m scripts.new_paper $(NAME)

tables: setup ## write results/README.md from the declared tables
	@$(PY) -m scripts.tables --results-dir $(RESULTS)

# ---- development

test: setup-dev ## the tests
	@$(PY) -m pytest

test-all: setup-dev ## the tests, the slow ones too
	@$(PY) -m pytest -m "slow or not slow"

test-processors: setup-dev ## tests of equal bits with the kernels of other processors, 11 minutes each
	@$(PY) tests/processors.py

test-gpu: setup-dev ## every launcher on a CUDA device beside the CPU, then images a second
	@if $(PY) -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then \
	  TEST_DEVICE=cuda $(PY) -m pytest tests/test_device_results.py tests/test_device_instruments.py tests/test_device_launchers.py && \
	  $(PY) -m benchmarks.throughput --device cuda --results-dir $(RESULTS); \
	else echo "test-gpu: torch sees no CUDA device here, so nothing was tested (make test has an emulated one)"; fi

lint: setup-dev
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && $(VENV)/bin/lint-imports

check: lint test ## lint, types, import contract, tests

clean: ## remove runs, your results and .venv (the reference stays)
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find $(RESULTS) -mindepth 1 -maxdepth 1 ! -name reference ! -name README.md -exec rm -rf {} +
