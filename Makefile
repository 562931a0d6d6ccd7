# The course's commands. Each makes what it needs first (scripts/setup.py: nothing when nothing
# changed), so a fresh clone needs only `make book` or `make test`.
#
#   PYTHON=python3.12   the interpreter that makes the environment
#   VENV=.venv          where the environment stands; LINT_VENV and NEWEST_VENV: those of
#                       make lint and make newest
#   WORKERS=2           processes that run the tests
#   PORT=8000           where `make demo` listens
#   DATA=small          what `make leaderboard` reads: a folder with ratings, or a MovieLens release
#   N=60 SEED=0 MODULE= faults that `make mutants` plants, which sample, in which modules;
#                       MUTANTS=--again plants the survivors of that sample again

PYTHON ?= python3
VENV ?= .venv
LINT_VENV ?= .venv-lint
NEWEST_VENV ?= .venv-newest
WORKERS ?= 2
PORT ?= 8000
N ?= 60
SEED ?= 0
ifeq ($(OS),Windows_NT)
BIN := Scripts/python.exe
else
BIN := bin/python
endif
RUN := $(VENV)/$(BIN)
SETUP = $(PYTHON) scripts/setup.py --venv "$(VENV)"
# The linters have an environment of their own: seconds and 50 MB instead of minutes and 7 GB.
LINT = $(PYTHON) scripts/setup.py --venv "$(LINT_VENV)" --only ruff,codespell,import-linter && \
	"$(LINT_VENV)/$(BIN)" scripts/lint.py

.DEFAULT_GOAL := help
.PHONY: help book test lab demo notebooks slides quizzes colab-check lint fix bench newest portability mutants leaderboard clean distclean set-repository setup python

help:
	@echo "make book                  the course as a site: _build/html/index.html"
	@echo "make test                  lint, tests, every notebook run again and compared, the site"
	@echo "make lab                   open the notebooks in JupyterLab"
	@echo "make demo                  train small models once and serve them at 127.0.0.1:8000; PORT=8001"
	@echo "make notebooks             run all notebooks and store their outputs in place"
	@echo "make notebooks NOTEBOOK=02 the same for those whose name contains this"
	@echo "make slides                slides from each chapter's figures: _build/slides/"
	@echo "make quizzes               for Moodle, as QTI, and to print: _build/quizzes/; QUIZZES=\"03 --seed 2\""
	@echo "make colab-check           run each notebook as Colab would, NOTEBOOK= as above"
	@echo "make lint                  ruff, codespell, import-linter, in seconds; make fix mends what ruff can"
	@echo "make newest                the tests with the newest versions, and which are not the pinned"
	@echo "make portability           every notebook under disturbed last bits and other kernels;"
	@echo "                           RUNS=\"shake --only 06 09\" for a part: alone it takes hours"
	@echo "make bench                 time the package against its peers; BENCH=metrics for one file"
	@echo "make mutants               plant faults one at a time: do the tests notice? N= SEED= MODULE="
	@echo "make leaderboard DATA=folder   the course's table on your ratings: _build/leaderboard-*.csv"
	@echo "make set-repository URL=https://github.com/OWNER/NAME   after a fork: every link follows"
	@echo "make clean                 remove what was built; make distclean removes the environments too"

python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "set-up failed: no $(PYTHON) here: install \
	Python 3.11 or newer from python.org, or name yours with PYTHON=" >&2; exit 1; }

setup: python
	@$(SETUP)

book: python
	@$(SETUP) --weights optional
	@"$(RUN)" scripts/build_book.py

test: python
	@$(SETUP) --weights required --language-model
	@"$(RUN)" scripts/run_tests.py --workers $(WORKERS) $(STAGES)

lab: python
	@$(SETUP) --weights optional
	@"$(RUN)" -m jupyter lab notebooks

# The extra serve alone would do; dev and book hold it, and an environment that is there is kept.
demo: python
	@$(SETUP) --weights optional
	@exec "$(RUN)" -m recsys_tutorial.serving.service demo _build/service --port $(PORT)

notebooks: python
	@$(SETUP) --weights required --language-model
	@"$(RUN)" scripts/execute_notebooks.py $(NOTEBOOK)

slides: python
	@$(SETUP) --weights optional
	@"$(RUN)" scripts/make_slides.py $(NOTEBOOK)

quizzes: python
	@$(SETUP) --weights optional
	@"$(RUN)" scripts/make_quizzes.py $(QUIZZES)

colab-check: python
	@$(SETUP) --weights required --language-model
	@"$(RUN)" scripts/colab_check.py $(NOTEBOOK)

lint: python
	@$(LINT)

fix: python
	@$(LINT) --fix

# STAGES="tests notebooks" compares the stored outputs too, which were made with the pinned versions.
newest: python
	@$(PYTHON) scripts/setup.py --venv "$(NEWEST_VENV)" --newest --weights required --language-model
	@"$(NEWEST_VENV)/$(BIN)" scripts/run_tests.py --workers $(WORKERS) $(or $(STAGES),tests)

portability: python
	@$(SETUP) --weights required --language-model
	@"$(RUN)" scripts/portability.py $(RUNS)

bench: python
	@$(SETUP) --extras dev,book,bench --weights required --language-model
	@"$(RUN)" -m benchmarks $(BENCH)

mutants: python
	@$(SETUP) --weights required --language-model
	@"$(RUN)" scripts/mutants.py --n $(N) --seed $(SEED) --module "$(MODULE)" $(MUTANTS)

leaderboard: python
	@$(SETUP) --weights optional
	@"$(RUN)" scripts/leaderboard.py $(or $(DATA),small)

set-repository: python
	@$(PYTHON) scripts/set_repository.py $(URL)

clean:
	rm -rf _build dist .pytest_cache .ruff_cache .hypothesis .coverage htmlcov test-results
	find . -name __pycache__ -not -path "./$(VENV)/*" -not -path "./.venv*" -prune -exec rm -rf {} +

distclean: clean
	for venv in "$(VENV)" "$(LINT_VENV)" "$(NEWEST_VENV)"; do \
		if [ -f "$$venv/pyvenv.cfg" ]; then rm -rf "$$venv"; fi; done
