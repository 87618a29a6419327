PYTHON ?= python3
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup lock reproduce full tasks test lint benchmark figures notebooks html explore robust lab student source catches discussions grade class-run class-merge slides restore clean
.DEFAULT_GOAL := help

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv (every target below does so by itself); TORCH=cpu or default: which torch

# The stamp says for which folder and which torch .venv was made. Another torch, or a folder that was
# moved or copied together with its .venv, gets a new one.
INSTALLED := $(shell cat $(STAMP) 2>/dev/null)
TORCH_FROM := $(or $(TORCH),$(lastword $(INSTALLED)),auto)
ifeq ($(filter auto cpu default,$(TORCH_FROM)),)
$(error TORCH is $(TORCH_FROM); allowed: cpu, default)
endif
export WANTED := $(CURDIR) $(TORCH_FROM)
ifneq ($(INSTALLED),$(WANTED))
.PHONY: $(STAMP)
ANEW := $(if $(INSTALLED),--clear)
endif

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found. Install Python 3.11 to 3.14, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { echo "$$($(PYTHON) --version) will not do: tra_mini needs Python 3.11 to 3.14. Name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(ANEW) .venv
	$(BIN)/python tools/install.py $(TORCH_FROM) "$(TORCH_INDEX)" $(CONSTRAINTS)
	@printf '%s\n' "$$WANTED" > $@

lock: $(STAMP)  ## rewrite constraints.txt with the newest versions, to be tested and kept
	$(BIN)/python tools/lock.py

reproduce: $(STAMP)  ## the headline, computed here: train, test, table, picture (minutes on two cores)
	$(BIN)/python -m experiments reproduce

full: $(STAMP)  ## all mechanisms, seeds and lengths (two to three hours on two cores)
	$(BIN)/python -m experiments reproduce recipe flip_flop flip_flop_long flip_flop_far

tasks: $(STAMP)  ## the harder tasks, and a vote over three writes (under two hours on two cores)
	$(BIN)/python -m experiments reproduce tasks vote

test: $(STAMP)  ## every test, the notebooks among them
	$(BIN)/python -m pytest

lint: $(STAMP)  ## check style and formatting, notebooks included
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

benchmark: $(STAMP)  ## time and memory of TRA beside its literal form and torch's fused softmax
	$(BIN)/python -m experiments.benchmark

figures: $(STAMP)  ## redraw every figure and table from figures/results, no training
	$(BIN)/python -m experiments redraw

notebooks: $(STAMP)  ## execute the notebooks and store them normalised
	$(BIN)/python tools/notebooks.py

html: $(STAMP)  ## everything as one folder, html/, for any web server or USB stick (no network needed)
	@rm -rf html
	$(BIN)/python tools/website.py

explore:  ## open the page to explore, figures/explore.html, in a browser
	@$(PYTHON) -m webbrowser "file://$(CURDIR)/figures/explore.html"

robust: $(STAMP)  ## run the notebooks with ten other seeds and another rounding (hours; not part of make test)
	$(BIN)/python tools/robust.py

lab: $(STAMP)  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyter lab notebooks

student: $(STAMP)  ## for students, OUT=folder: the exercises without solutions (source: with them, for nbgrader)
	$(BIN)/python tools/exercises.py student "$(OUT)"

source: $(STAMP)
	$(BIN)/python tools/exercises.py source "$(OUT)"

grade: $(STAMP)  ## run the notebooks in FOLDER=STUDENT/01_*.ipynb against our checks -> OUT=grades.csv
	$(BIN)/python tools/grade.py "$(FOLDER)" --out "$(or $(OUT),grades.csv)"

discussions: $(STAMP)  ## print every answer in FOLDER to the discussion of exercise N, such as N=4.2
	$(BIN)/python tools/grade.py "$(FOLDER)" --discussion "$(N)"

catches: $(STAMP)  ## how many plausible wrong answers each exercise's check catches
	$(BIN)/python tools/exercises.py catches

class-run: $(STAMP)  ## train SEED=number for the class experiment, a minute or two -> class_SEED.json
	$(BIN)/python tools/class_experiment.py run "$(SEED)" "$(or $(OUT),.)"

class-merge: $(STAMP)  ## merge the class's files in FOLDER -> class.json and class.svg
	$(BIN)/python tools/class_experiment.py merge "$(FOLDER)" "$(or $(OUT),$(FOLDER))"

slides: $(STAMP)  ## notebooks 02 to 05 as slides in slides/, to show without a network
	$(BIN)/python tools/slides.py

restore: $(STAMP)  ## give the notebooks in FOLDER back the marks that Colab drops, for nbgrader
	$(BIN)/python tools/exercises.py restore "$(FOLDER)"

clean:  ## remove what was built: .venv, trained models, caches (results and figures stay)
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info html slides *.part
	find figures notebooks -name '*.part' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
