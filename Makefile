# Everything runs in an environment of its own, .venv, which is made on first use.
# PYTHON names another interpreter for it, PORT another port for the demo.

VENV := .venv
BIN := $(VENV)/bin

ifeq ($(origin CC),default)
CC := gcc
endif
C_WARNINGS := -Wall -Wextra -Werror -Wconversion
C_SOURCES := $(wildcard csrc/*.c)

# What the compiled core is made of: a change here installs the package again.
BUILD_INPUTS := pyproject.toml setup.py ringbus/_build.py $(wildcard csrc/*.[ch])

.DEFAULT_GOAL := help
.PHONY: help demo test check bench guard screenshots verify clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## the whole system on a recorded agent, until Ctrl-C (PORT=9000 make demo)
	@$(BIN)/ringbus demo $(if $(PORT),--port "$(PORT)")

test: $(VENV)/test.stamp  ## all tests (make test ARGS='-k gate -x')
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/dev.stamp  ## style, types, and the C core with every warning an error
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	for source in $(C_SOURCES); do \
	    echo "$(CC) $(C_WARNINGS) $$source"; \
	    $(CC) -std=c11 -O2 -fPIC $(C_WARNINGS) -isystem "$$include" -c "$$source" -o /dev/null || exit 1; \
	done

bench: $(VENV)/bench.stamp  ## against all that people use instead (make bench ARGS='--json')
	$(BIN)/python -m benchmarks $(ARGS)

screenshots: $(VENV)/dev.stamp  ## pictures of the pages, into tests/screenshots/pictures
	PYTHONPATH=tests $(BIN)/python -m screenshots

guard: $(VENV)/demo.stamp  ## instructions of emit and read, against the figures kept (needs valgrind)
	$(BIN)/python -m benchmarks.guard $(ARGS)

verify: $(VENV)/test.stamp  ## model, stepper, soak, fuzzers: half an hour (make verify DEEP=1: hours)
	$(BIN)/python tests/verify.py --level $(if $(DEEP),deep,$(or $(LEVEL),full))

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist *.egg-info ringbus/_core*.so
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One by one where they do not install together: the benchmarks do without those that fail.
BENCH_EXTRA := import pathlib, tomllib; \
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]; \
    print(*project["optional-dependencies"]["bench"], sep="\n")

# The larger sets hold the smaller ones, so installing one of them is fresh for those too.
$(VENV)/demo.stamp: $(VENV)/python.stamp $(BUILD_INPUTS)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/bench.stamp: $(VENV)/python.stamp $(BUILD_INPUTS)
	$(BIN)/pip install --quiet --editable .
	@$(BIN)/pip install --quiet --editable '.[bench]' || \
	$(BIN)/python -c '$(BENCH_EXTRA)' | while read -r package; do \
	    $(BIN)/pip install --quiet "$$package" || echo "without $$package: it did not install" >&2; \
	done
	@touch $@ $(VENV)/demo.stamp

$(VENV)/test.stamp: $(VENV)/python.stamp $(BUILD_INPUTS)
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/demo.stamp

$(VENV)/dev.stamp: $(VENV)/python.stamp $(BUILD_INPUTS)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/test.stamp $(VENV)/demo.stamp

# Exit status of the probe: 0 usable, 10 too old, 11 no headers, 12 cannot make environments.
PROBE := import importlib.util, pathlib, sys, sysconfig; \
    old = sys.version_info < (3, 11); \
    bare = not pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file(); \
    print("python%d.%d" % sys.version_info[:2]); \
    ensurepip = importlib.util.find_spec("ensurepip"); \
    sys.exit(10 if old else 11 if bare else 0 if ensurepip and ensurepip.origin else 12)
CANDIDATES := $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3)

# Every candidate is run, not only looked up: a version manager's shim may be there and fail.
$(VENV)/python.stamp:
	@need() { echo "$$1 On Debian: apt install $$2" >&2; exit 1; }; \
	command -v $(CC) >/dev/null || need "There is no C compiler ($(CC))." gcc; \
	echo '#include <stdio.h>' | $(CC) -E - >/dev/null 2>&1 || need "The C library has no headers." libc6-dev; \
	echo '#include <sqlite3ext.h>' | $(CC) -E - >/dev/null 2>&1 || need "SQLite has no headers." libsqlite3-dev; \
	for python in $(CANDIDATES); do \
	    version=$$("$$python" -c '$(PROBE)' 2>/dev/null); status=$$?; \
	    case $$status in \
	        0) break;; \
	        11) lack="Python.h of $$python is missing." package=$$version-dev;; \
	        12) lack="$$python cannot make environments." package=$$version-venv;; \
	    esac; \
	done; \
	[ $$status -eq 0 ] || need "$${lack:-No Python of 3.11 or later runs (tried: $(subst ",,$(CANDIDATES))).}" \
	    "$${package:-python3 python3-dev python3-venv}"; \
	echo "Making $(VENV) with $$python"; \
	"$$python" -m venv $(VENV)
	@touch $@
