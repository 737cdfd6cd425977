# make demo            the whole circle on the embedded model, under ten minutes after set-up
# make demo FULL=1     the same with at least 60 held-out tasks, about half an hour
# make test            lint, types, tests
# make test-clients    real agents, installed and run through the gateway (4 GB; needs npm)
# make test-tinker     the training backend `tinker` against SkyRL's server of the Tinker API, on CPU (3 GB)
# make test-package    wheel and sdist, each in a clean environment
# make test-container  what the Dockerfile says, without a container engine
# make docs            the documentation as pages, below docs/_build/html; make docs-serve shows them
# make first-minutes   from a fresh clone to the first learned skill, timed
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FULL   ?=

.PHONY: setup run demo test test-clients test-package test-container check format docs docs-serve first-minutes bench bench-gateway bench-retrieval bench-signals bench-scheduling bench-gate-aa bench-swap bench-workdays bench-peers bench-trainer bench-learning test-tinker clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "MetaClaw needs Python 3.11 or newer; name it with PYTHON=..."; exit 1; }
	@echo "== installing MetaClaw into $(VENV) (about 1.6 GB, most of it PyTorch; two minutes or so)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python scripts/install.py
	@touch $@

run: setup
	$(BIN)/metaclaw start

demo: setup
	$(BIN)/metaclaw demo $(if $(FULL),--full) --keep-running

test: setup check
	$(BIN)/python -m pytest

test-clients: setup
	$(BIN)/python -m pytest -rs tests_clients

TINKER := .venv-tinker

test-tinker: setup $(TINKER)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt -e '.[tinker]'
	TINKER_PYTHON=$(TINKER)/bin/python $(BIN)/python -m pytest -rs tests_tinker

$(TINKER)/.installed:
	@echo "== installing SkyRL's Tinker API server into $(TINKER) (about 3 GB)"
	$(PYTHON) -m venv $(TINKER)
	$(TINKER)/bin/pip install --quiet 'torch==2.13.0'
	$(TINKER)/bin/pip install --quiet 'skyrl[tinker,jax]==0.3.0' 'tinker==0.22.7'
	@touch $@

test-package:
	scripts/package_check.sh $(PYTHON)

test-container:
	scripts/container_smoke.sh $(PYTHON)

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory docs/_build/html 8000

first-minutes:
	scripts/first_minutes.sh $(PYTHON)

check: setup
	$(BIN)/ruff check src tests tests_clients tests_tinker scripts
	$(BIN)/mypy
	$(BIN)/python scripts/reference.py --check

format: setup
	$(BIN)/ruff check --fix src tests tests_clients tests_tinker scripts
	$(BIN)/python scripts/reference.py

bench: setup bench-gateway bench-retrieval
	$(BIN)/metaclaw demo --full

bench-gateway: setup
	@command -v wrk >/dev/null || { echo "bench-gateway needs wrk (apt-get install wrk)"; exit 1; }
	$(BIN)/metaclaw bench gateway

bench-retrieval: setup
	$(BIN)/metaclaw bench retrieval

bench-signals: setup
	$(BIN)/python -m metaclaw.bench.signals

bench-scheduling: setup
	$(BIN)/python -m metaclaw.bench.scheduling.run --seeds 10000

bench-gate-aa: setup
	$(BIN)/metaclaw bench gate-aa

bench-swap: setup
	$(BIN)/metaclaw bench swap

bench-workdays: setup
	$(BIN)/metaclaw bench workdays --arms frozen,feedback-log,handwritten,placebo,shuffled-feedback,skills,weights,both

bench-peers: setup
	$(BIN)/metaclaw bench peers

bench-trainer: setup
	$(BIN)/pip install --quiet --constraint constraints.txt -e '.[bench-trainer]'
	$(BIN)/metaclaw bench trainer
	$(BIN)/metaclaw bench trainer --model qwen2.5-0.5b

bench-learning: setup
	$(BIN)/metaclaw bench learning

clean:
	rm -rf $(VENV) $(TINKER) .mypy_cache .ruff_cache .pytest_cache .hypothesis docs/_build build dist src/*.egg-info
