# The course's commands. Each makes what it needs first (scripts/setup.py: nothing when nothing
# changed), so a fresh clone needs only `make book` or `make test`.
#
#   PYTHON=python3.12   the interpreter that makes the environment
#   VENV=.venv          where the environment stands
#   WORKERS=2           processes that run the tests

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
ifeq ($(OS),Windows_NT)
RUN := $(VENV)/Scripts/python.exe
else
RUN := $(VENV)/bin/python
endif
SETUP = $(PYTHON) scripts/setup.py --venv "$(VENV)"

.DEFAULT_GOAL := help
.PHONY: help book test lab notebooks slides colab-check lint fix bench clean distclean set-repository setup python

help:
	@echo "make book                  the course as a site: _build/html/index.html"
	@echo "make test                  lint, tests, every notebook run again and compared, the site"
	@echo "make lab                   open the notebooks in JupyterLab"
	@echo "make notebooks             run all notebooks and store their outputs in place"
	@echo "make notebooks NOTEBOOK=02 the same for those whose name contains this"
	@echo "make slides                slides from each chapter's figures: _build/slides/"
	@echo "make colab-check           run each notebook as Colab would, NOTEBOOK= as above"
	@echo "make lint                  ruff and codespell; make fix mends what ruff can"
	@echo "make bench                 time the package against its peers; BENCH=metrics for one file"
	@echo "make set-repository URL=https://github.com/OWNER/NAME   after a fork: every link follows"
	@echo "make clean                 remove what was built; make distclean removes $(VENV) too"

python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "set-up failed: no $(PYTHON) here: install \
	Python 3.11 or newer from python.org, or name yours with PYTHON=" >&2; exit 1; }

setup: python
	@$(SETUP)

book: python
	@$(SETUP) --weights optional
	@"$(RUN)" scripts/build_book.py

test: python
	@$(SETUP) --weights required
	@"$(RUN)" scripts/run_tests.py --workers $(WORKERS) $(STAGES)

lab: python
	@$(SETUP) --weights optional
	@"$(RUN)" -m jupyter lab notebooks

notebooks: python
	@$(SETUP) --weights required
	@"$(RUN)" scripts/execute_notebooks.py $(NOTEBOOK)

slides: python
	@$(SETUP) --weights optional
	@"$(RUN)" scripts/make_slides.py $(NOTEBOOK)

colab-check: python
	@$(SETUP) --weights required
	@"$(RUN)" scripts/colab_check.py $(NOTEBOOK)

lint: setup
	@"$(RUN)" scripts/lint.py

fix: setup
	@"$(RUN)" scripts/lint.py --fix

bench: python
	@$(SETUP) --extras dev,book,bench --weights required
	@"$(RUN)" -m benchmarks $(BENCH)

set-repository: python
	@$(PYTHON) scripts/set_repository.py $(URL)

clean:
	rm -rf _build dist .pytest_cache .ruff_cache .hypothesis .coverage htmlcov test-results
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

distclean: clean
	if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
