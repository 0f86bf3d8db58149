# make sweep [GRID=origins] [ARGS="grid.seeds=[0] ..."]   create the environment, run a sweep
# make test | check | format | bench                 run the tests | the linters | the formatter | the benchmarks
# make chaos [ARGS="--seed 0 1 2 3 4"]               disturb a sweep in 20 ways a seed, and compare (a quarter of an hour)
# make fuzz [FUZZ=100] [ARGS="-k headers"]           try FUZZ times as many damaged files and command lines as the tests
# make truth [ARGS="--sweeps 500"]                   judge claims in simulated sweeps whose truth is known
# make results                                       run the sweep, and take its claims and figure over into the README
# make docs                                          build the documentation as a site, in site/; warnings are errors
# make lock [ARGS=--upgrade]                         compile the locks again from pyproject.toml
# make clean                                         remove what make made, results in outputs/ excepted
#
# All of them run in .venv, made from locks/cpu.txt on first use and whenever the lock or pyproject.toml changes; `docs` in
# .venv-docs, made from locks/docs.txt.

GRID ?= origins
ARGS ?=
FUZZ ?= 100

BIN := .venv/bin
READY := .venv/.ready
DOCS := .venv-docs/bin
DOCS_READY := .venv-docs/.ready
UV := $(BIN)/uv
IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))
NEED_311 = "$(PYTHON)" -c '$(IS_311)' 2>/dev/null || { echo "make: no Python 3.11 found as python3.11 or python3: \
	install it, or name it as in make PYTHON=/usr/local/bin/python3.11" >&2; exit 1; }
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell $(name) -c '$(IS_311)' 2>/dev/null && echo $(name))))

# Where wheels lie on disk (pip's variable, or uv's, which uv reads itself), the CPU build of torch is among them;
# elsewhere it comes from PyTorch's own index.
TORCH_FROM = $(if $(PIP_FIND_LINKS)$(UV_FIND_LINKS),$(PIP_FIND_LINKS:%=--find-links %),--torch-backend cpu)
COMPILE = pip compile pyproject.toml --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--no-annotate --custom-compile-command "make lock" --quiet $(ARGS)

# Many processes share the cores: OpenMP threads that spin in each of them only slow the others down.
export OMP_NUM_THREADS ?= 1

.PHONY: .venv sweep test check format bench chaos results truth fuzz docs lock clean

.venv: $(READY)

# Bytecode is made once, at installation: else the processes of a first sweep all make it at the same time, and those of
# every sweep where PYTHONDONTWRITEBYTECODE is set.
$(READY): locks/cpu.txt pyproject.toml setup.py
	@$(NEED_311)
	@echo "set-up 1/3: .venv from $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check "$$(grep '^uv==' locks/cpu.txt)"
	@echo "set-up 2/3: the $$(grep -c == locks/cpu.txt) packages of locks/cpu.txt (3.3 GB on disk)"
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python $(TORCH_FROM) locks/cpu.txt
	@echo "set-up 3/3: subnetray, editable"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS_READY): locks/docs.txt
	@$(NEED_311)
	@"$(PYTHON)" -m venv --clear .venv-docs
	@$(DOCS)/python -m pip install --quiet --quiet --disable-pip-version-check --requirement locks/docs.txt
	@touch $@

sweep: $(READY)
	$(BIN)/python -m subnetray.sweep +grid=$(GRID) $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	set -e; for file in benchmarks/*.py; do PYTHONPATH=. $(BIN)/python $$file; done

chaos: $(READY)
	$(BIN)/python -m tests.chaos $(ARGS)

results: $(READY)
	$(BIN)/python -m subnetray.sweep +grid=origins
	$(BIN)/python -m tests.results outputs/origins

truth: $(READY)
	$(BIN)/python -m tests.analysis.truth $(ARGS)

fuzz: $(READY)
	SUBNETRAY_FUZZ=$(FUZZ) $(BIN)/python -m pytest -q --numprocesses 2 -m fuzz $(ARGS)

docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --strict $(ARGS)

lock: $(READY)
	$(UV) $(COMPILE) --extra cpu --extra dashboard --extra dev --extra smollm2 $(TORCH_FROM) --override locks/cpu-overrides.txt --output-file locks/cpu.txt
	env -u UV_FIND_LINKS $(UV) $(COMPILE) --extra gpu --output-file locks/gpu.txt
	env -u UV_FIND_LINKS $(UV) $(COMPILE) --extra docs --output-file locks/docs.txt

clean:
	rm -rf .venv .venv-docs site build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
