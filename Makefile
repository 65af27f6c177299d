# `make` lists what there is to make. Everything runs in .venv, which `make setup` creates.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PIP_ARGS ?=

BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed
TOOLS := nbs/_tools
TEST := OMP_NUM_THREADS=1 $(PY) -m pytest -ra
FAN := -n $(JOBS)

.PHONY: help setup demo notebooks export renumber readme docs browser test test-unit test-fresh test-notebooks test-site test-package test-cuda faults lab clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo '  PYTHON=python3.12 chooses the interpreter of `setup`, PIP_ARGS=... goes to pip, JOBS=4 runs more at a time.'

setup: $(STAMP) ## Create .venv and install the project into it, some minutes the first time

$(STAMP): settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "loco needs Python 3.10 or newer; $(PYTHON) is older. Try: make setup PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV), some minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -qq --no-compile --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,media,hf,ray]'
	$(PY) -m pip install -qq --no-compile --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --no-deps mmengine addict yapf termcolor
	@touch $@

demo: $(STAMP) ## Train LoCo and a base model on data/stampsav, then evaluate and draw both, into runs/
	bash $(TOOLS)/demo.sh $(abspath $(BIN)/loco)

notebooks: $(STAMP) ## Execute every notebook in place
	$(PY) $(TOOLS)/run_nbs.py -j $(JOBS)

export: $(STAMP) ## Write loco/ from the notebooks
	$(PY) $(TOOLS)/export.py

renumber: ## Number the pages anew after one was put between two others
	$(PYTHON) $(TOOLS)/renumber.py

readme: $(STAMP) ## Write README.md from nbs/index.ipynb
	$(PY) $(TOOLS)/readme.py

docs: $(STAMP) ## Build the documentation site into _docs/html
	$(PY) nbs/_site/vendor.py
	$(PY) -m sphinx -W --keep-going -q -c nbs/_site -d _docs/doctrees nbs _docs/html
	@echo "The site is at _docs/html/index.html"

browser:
	@bash $(TOOLS)/browser.sh

test: $(STAMP) browser ## Run every test; its groups are the test-* below
	$(TEST) $(FAN) tests

test-unit: $(STAMP) ## Only the tests of the code
	$(TEST) $(FAN) tests -m 'not (fresh or notebooks or site or package)'

test-fresh: $(STAMP) ## Only whether loco/, README.md and the committed notebooks are up to date
	$(TEST) $(FAN) tests -m fresh

test-notebooks: $(STAMP) ## Only whether every notebook executes
	$(TEST) $(FAN) tests -m notebooks

test-site: $(STAMP) browser ## Only the documentation site, in headless Chromium
	$(TEST) tests -m site

test-package: $(STAMP) ## Only building and installing the package
	$(TEST) tests -m package

test-cuda: ## Only what must hold on a GPU, with a report in runs/cuda.json
	@p=$(PY); test -x $$p || p=$(PYTHON); $$p -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "no CUDA device here: nothing to test"; exit 0; }; \
	PYTHONPATH=. $$p -m pytest -q -p no:cacheprovider tests/test_cuda.py

faults: $(STAMP) ## Kill every command again and again, fill its disk, take its rights; a quarter of an hour, kept in nbs/results/faults.json
	$(PY) $(TOOLS)/faults.py

lab: $(STAMP) ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=nbs

clean: ## Remove what was built; keeps .venv and runs/
	rm -rf _docs _proc build dist *.egg-info .pytest_cache .hypothesis
	find nbs loco tests -name __pycache__ -prune -exec rm -rf {} +
	find nbs -name .ipynb_checkpoints -prune -exec rm -rf {} +
