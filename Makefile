# Everything below works on a fresh checkout with Python >= 3.11 (venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RECORDINGS := ../shared/recordings

.PHONY: demo test check lock bench soak faults screenshots test-recordings clean

demo: $(STAMP)
	$(BIN)/arbtop demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 3 --dist worksteal

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-recordings: $(STAMP)
	@test -d $(RECORDINGS) || { echo "$(RECORDINGS) is not there: these tests need the recordings"; exit 1; }
	$(BIN)/python -m pytest -m recordings -rs -s

bench: $(STAMP)
	$(BIN)/python -m tests.bench

soak: $(STAMP)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10)

faults: $(STAMP)
	$(BIN)/python -m tests.faults --count $(or $(N),200) $(if $(SEED),--seed $(SEED)) $(if $(VENUE),--venue $(VENUE))
	$(BIN)/python -m tests.faults.storms $(SEED)

screenshots: $(STAMP)
	$(BIN)/python -m tests.screenshots

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --extra test pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
