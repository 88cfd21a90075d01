# Every target makes its own environment in .venv when there is none.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test check format bench coverage-models mutate fuzz audit clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/heedful demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal --durations=10 $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ARGS)

coverage-models: $(INSTALLED)
	$(BIN)/python -m benchmarks.coverage_models $(ARGS)

mutate: $(INSTALLED)
	$(BIN)/python -m tests.mutate $(ARGS)

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(ARGS)

# Asks a service in the network for known vulnerabilities of what is installed.
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --local --skip-editable

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
