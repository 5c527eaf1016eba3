# Two commands matter: 'make demo' and 'make test'. 'make help' lists the rest.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CARGO  ?= cargo
# One target directory for cargo and pip, so that nothing is built twice.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml
PY_SOURCES   := $(shell find python/ouroboros -name '*.py' -o -name '*.pyi') pyproject.toml setup.py

# Where things are installed; DESTDIR goes before it.
PREFIX ?= /usr/local
MAN    := $(DESTDIR)$(PREFIX)/share/man

# irmd looks for ipcpd beside itself.
PROGRAMS := irmd ipcpd irm oecho oping operf ocbr obc ovpn o7s-relay

include crates/capi/capi.mk

.DEFAULT_GOAL := help

.PHONY: help demo test test-rust test-model test-python lint bench docs fuzz fuzz-smoke clean \
	install uninstall install-programs uninstall-programs install-man uninstall-man

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# The package with its programs, installed into the virtual environment.
$(VENV)/.installed: $(BIN)/python $(RUST_SOURCES) $(PY_SOURCES)
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps .
	@touch $@

$(VENV)/.tools: $(BIN)/python requirements-test.txt
	$(BIN)/python -m pip install --quiet -r requirements-test.txt
	@touch $@

demo: $(VENV)/.installed ## build, then two Python programs talk over a local layer
	@$(BIN)/python -m ouroboros.demo

test: test-rust test-model test-python ## everything: Rust, models, Python, processes

test-rust: ## Rust tests and programs in C, with real daemons and programs
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) test --workspace --features o7s/tokio

test-model: ## all interleavings of the ring and its wake-ups (loom)
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/loom \
		$(CARGO) test --release --package o7s-ring --test loom

test-python: $(VENV)/.installed $(VENV)/.tools ## Python tests against the installed package
	$(BIN)/python -X dev -W error -m pytest python/tests

lint: $(VENV)/.installed $(VENV)/.tools ## format, clippy, ruff, mypy, stubs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features o7s/tokio -- -D warnings
	$(BIN)/ruff format --check python examples benches/python
	$(BIN)/ruff check python examples benches/python
	$(BIN)/mypy --strict -p ouroboros
	$(BIN)/python -m mypy.stubtest ouroboros

bench: $(VENV)/.installed $(VENV)/.tools capi ## this library beside what one would pick instead
	$(CARGO) build --quiet --release --package o7s-bench --package o7s-irmd --package o7s-ipcpd
	$(CARGO_TARGET_DIR)/release/o7s-bench
	$(BIN)/python benches/python/bench.py
	$(BIN)/python benches/python/chat.py

docs: $(VENV)/.installed $(VENV)/.tools ## reference of the Python package, as HTML in build/reference
	$(BIN)/python docs/reference/build.py

install: install-programs install-capi install-man ## all that C and Rust users need, below PREFIX (/usr/local)

uninstall: uninstall-programs uninstall-capi uninstall-man ## remove it again

install-programs: ## the programs, below PREFIX (/usr/local)
	$(CARGO) build --quiet --release $(PROGRAMS:%=--bin %)
	for program in $(PROGRAMS); do \
		install -D -m 755 $(CARGO_TARGET_DIR)/release/$$program $(DESTDIR)$(PREFIX)/bin/$$program || exit 1; done

uninstall-programs: ## remove them again
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%)

install-man: ## the manual pages, below PREFIX (/usr/local)
	for page in docs/man/*.[1-8]; do \
		install -D -m 644 $$page $(MAN)/man$${page##*.}/$${page##*/} || exit 1; done

uninstall-man: ## remove them again
	for page in docs/man/*.[1-8]; do rm -f $(MAN)/man$${page##*.}/$${page##*/}; done

fuzz: export FUZZ_SECONDS ?= 60
fuzz: ## each fuzz target for FUZZ_SECONDS (60); stable Rust and a C++ compiler
	fuzz/run

fuzz-smoke: ## the same for 10 s each, as a check of each change
	fuzz/run

clean: ## remove what was built
	rm -rf $(CARGO_TARGET_DIR) $(VENV) build *.egg-info python/*.egg-info
