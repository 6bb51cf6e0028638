# make demo | test | test-faults | test-slurm | lint | bench | why | watch | slurm-profile; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
SHELL := /bin/bash

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/installed  ## Run the whole workflow on the demo's data, to results/report.html
	$(BIN)/snakemake --cores $(CORES)

test: $(VENV)/installed-dev  ## Run the test suite
	$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

coverage: $(VENV)/installed-dev  ## Run the test suite and measure the coverage of scripts/
	$(BIN)/python -m pytest -n auto --dist loadgroup --cov --cov-report=term:skip-covered $(ARGS)

test-slurm: $(VENV)/installed-dev  ## Run the workflow on a toy SLURM cluster, in every way (needs Debian's slurmctld slurmd slurm-client, and root)
	SCLAMP_TEST_SLURM=all $(BIN)/python -m pytest tests/slurm -v $(ARGS)

test-faults: $(VENV)/installed-dev  ## Try every fault (killed jobs, full disks, damaged files, jumping clocks, ...) and count what was survived
	$(BIN)/python -m pytest tests/faults -n auto --all-trials $(ARGS)

lint: $(VENV)/installed-dev  ## Check style, types and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/python envs/make_conda.py --check
	$(BIN)/python scripts/make_schema.py --check

format: $(VENV)/installed-dev  ## Bring everything into format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

envs: $(VENV)/installed  ## Make envs/sclamp.yaml from envs/requirements.txt
	$(BIN)/python envs/make_conda.py

schema: $(VENV)/installed  ## Make workflow/schemas/config.schema.yaml from scripts/sclamp/config
	$(BIN)/python scripts/make_schema.py

bench: $(VENV)-bench/installed-bench  ## Run the speed claims (ARGS="--reference CHECKOUT_OF_SCILAMA --folder KEPT_DATA")
	$(VENV)-bench/bin/python tests/performance/run_all.py $(ARGS)

why: $(VENV)/installed  ## Say for each job that would run, why
	@$(BIN)/snakemake -n --cores $(CORES) $(ARGS) 2>&1 | grep -E '^(local)?rule |^ +(output|reason):|^Nothing|^total|Error|error' || true

watch: $(VENV)/installed  ## Show the last words of running jobs (ARGS=results/mine)
	@$(BIN)/python scripts/watch.py $(ARGS)

slurm-profile:  ## Link profiles/slurm to where `snakemake --profile slurm` looks
	@target="$${XDG_CONFIG_HOME:-$$HOME/.config}/snakemake/slurm"; here="$(CURDIR)/profiles/slurm"; \
	if [ "$$(readlink "$$target")" = "$$here" ]; then echo "$$target is in place."; \
	elif [ -e "$$target" ] || [ -L "$$target" ]; then echo "$$target exists and is not ours; it was left alone. Use: snakemake --profile $$here" >&2; exit 1; \
	else mkdir -p "$$(dirname "$$target")" && ln -s "$$here" "$$target" && echo "Linked $$target -> $$here"; fi

# A torch of the pinned version that is already there (for example a build for a certain GPU) is kept.
$(VENV)/installed: envs/requirements.txt
	@echo "Installing into $(VENV); this takes some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $$(grep -o '^torch==[0-9.]*' envs/requirements.txt)
	$(BIN)/python -m pip install --quiet -r envs/requirements.txt
	@touch $@

$(VENV)/installed-dev: envs/requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet -r envs/requirements-dev.txt
	@touch $@

$(VENV)-bench/installed-bench: envs/bench.txt envs/requirements.txt
	test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet $$(grep -o '^torch==[0-9.]*' envs/requirements.txt)
	$(VENV)-bench/bin/python -m pip install --quiet -r envs/requirements.txt -r envs/bench.txt
	@touch $@

clean:  ## Remove results of the demo
	rm -rf results

.PHONY: help demo test test-faults test-slurm coverage lint format envs schema bench why watch slurm-profile clean
