# make book   everything from a fresh clone: environment, phantoms, notebooks, book
# make test   everything that must pass before a change goes in
#
# Needs Python 3.11.4 or newer, make and git; the rest comes from the package registry into .venv.

PROFILE ?= demo
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
INDEX := build/$(basename $(notdir $(PROFILE)))/book/_build/html/index.html

.DEFAULT_GOAL := help
.PHONY: help env book rehearsal test lint format clean distclean

help: ## this list
	@echo "Usage: make TARGET [PROFILE=demo] [CORES=all]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 14

env: $(READY) ## only the environment, for single commands of .venv/bin

book: $(READY) ## run what is out of date and build build/PROFILE/book/_build/html/index.html
	@$(BIN)/snakemake --cores $(CORES) --config profile=$(PROFILE) \
	  --resources gpu=1 --nolock --rerun-incomplete --keep-going --max-checksum-file-size 50000000 \
	  --show-failed-logs --quiet host
	@echo "The book: $(INDEX)"

RELEASED ?= build/data/fetalclip-released

rehearsal: $(READY) ## the paper's profile in miniature (phantoms, random weights): does all of it run?
	$(BIN)/python tests/support/rehearsal.py $(RELEASED)

test: lint ## style, then all tests with the package's coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile \
	  --cov=fetalclip_nb --cov-report=term

lint: $(READY) ## style only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## bring the code into the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## delete all that was made (phantoms, embeddings, results, books), downloads excepted
	rm -rf .snakemake .pytest_cache .ruff_cache .coverage
	if [ -d build ]; then \
	  find build -mindepth 1 -maxdepth 1 ! -name data ! -name models -exec rm -rf {} +; fi

distclean: clean ## delete downloads and the environment, too
	rm -rf build $(VENV)

# The stamp is written last: an installation that was cut short is taken up again.
$(READY): pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c "import pip" 2> /dev/null; then \
	  for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    if $$python -c "import sys; sys.exit(sys.version_info < (3, 11, 4))" 2> /dev/null; then \
	      echo "Making $(VENV) with $$($$python --version) ($$python)"; \
	      $$python -m venv --clear $(VENV); break; \
	    fi; \
	  done; \
	  if ! $(BIN)/python -c "import pip" 2> /dev/null; then \
	    echo "error: no Python 3.11.4 or newer with venv found. Give one: make PYTHON=/path/to/python"; \
	    exit 1; \
	  fi; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[book,hf,dicom,test]"
	@touch $@
