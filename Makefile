# Dark Knowledge. `make` alone lists the targets; each of them does its own set-up.

SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.stamp
UV_VERSION := 0.13.9
# torch has no wheels for other versions of Python; see requirements.lock.
PYTHON_RANGE := >=3.11,<3.15
LOCK_PINS := torch==2.13.0\ntorchvision==0.28.0\n

# A Python of one's own choice: make setup BASE_PYTHON=/path/to/python3.12
BASE_PYTHON ?=
# Further arguments for pytest: make test PYTEST_ARGS='-k losses'
PYTEST_ARGS ?=
# One process a core; a file's tests share what it has trained, so they stay in one process.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q \
	-n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Other projects' settings must not reach into .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX UV_SYSTEM_PYTHON UV_PYTHON

# An environment that was moved here, or whose Python has gone, is made anew.
_ := $(shell test "$$(cat $(STAMP) 2>/dev/null)" = "$$(pwd -P)" \
	&& $(BIN)/python -c '' 2>/dev/null || rm -f $(STAMP))

.DEFAULT_GOAL := help
.PHONY: help setup report test check lint torture bench publish lock clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## install what requirements.lock names into .venv
	@echo "Ready: $(BIN)/darkknowledge --help"

report: $(STAMP) ## train the quick profile and render its report (some minutes on two cores)
	$(BIN)/darkknowledge run quick
	$(BIN)/darkknowledge render quick

test: lint ## check style and types, then run all tests (some five minutes on two cores)
	$(PYTEST) $(PYTEST_ARGS)

check: lint ## check style and types, then run the fast tests, import rules included (a minute)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

torture: $(STAMP) ## the long loops: kills, crowds, full disks, foreign files (some ten minutes)
	TORTURE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s tests/test_crash.py $(PYTEST_ARGS)

bench: $(STAMP) ## measure training speed against the usual way (nothing else should run meanwhile)
	$(BIN)/python benchmarks/speed.py

publish: $(STAMP) ## render the published editions and the README's answers
	$(BIN)/darkknowledge publish paper

lock: $(STAMP) ## resolve pyproject.toml anew into requirements.lock (UPGRADE=1: to newer versions)
	@$(find_uv); \
	printf '$(LOCK_PINS)' | "$$uv" pip compile -q pyproject.toml --extra test -c - \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-header --no-annotate --no-emit-index-url $(if $(UPGRADE),--upgrade) -o requirements.lock

clean: ## delete rendered reports, caches and build products; keep results/ and .venv
	rm -rf _output _freeze .quarto site_libs index_files build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf src/*.egg-info/ report/.quarto
	find src tests report results -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	find results report -name .ipynb_checkpoints -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## clean, and delete .venv and .uv too
	rm -rf .venv .uv

# -- set-up ------------------------------------------------------------------------------------

fail = fail() { echo "make: $$*" >&2; exit 1; }

# Sets $$python to a fitting interpreter, or to nothing.
find_python = \
	python=; \
	for candidate in $(if $(BASE_PYTHON),"$(BASE_PYTHON)",python3 python3.13 python3.12 python3.14 python3.11); do \
		if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' \
			2>/dev/null; then python=$$candidate; break; fi; \
	done

# Sets $$store: the file or folder of certificates that the system trusts, or nothing.
find_store = \
	store=$$("$${python:-false}" -c 'import os, ssl; p = ssl.get_default_verify_paths(); \
		print(p.cafile or (p.capath and os.listdir(p.capath) and p.capath) or "")')

# A server that the system trusts is trusted, also behind a proxy that signs for itself (older versions
# of uv call this native TLS); a slow one is waited for; and an index or certificates that are named
# for pip are uv's as well.
network = \
	index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$$PIP_INDEX_URL}}"; \
	[ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index" PIP_INDEX_URL="$${PIP_INDEX_URL:-$$index}"; \
	bundle="$${SSL_CERT_FILE:-$${PIP_CERT:-$${REQUESTS_CA_BUNDLE:-$$CURL_CA_BUNDLE}}}"; \
	[ ! -f "$$bundle" ] || export SSL_CERT_FILE="$$bundle"; \
	$(find_store); \
	[ -z "$$store" ] || export UV_SYSTEM_CERTS="$${UV_SYSTEM_CERTS:-1}" UV_NATIVE_TLS="$${UV_NATIVE_TLS:-1}"; \
	export UV_HTTP_TIMEOUT="$${UV_HTTP_TIMEOUT:-300}"

# Versions of pip before 24.2 do not ask the system.
pip_trust = \
	case $$(.uv/bin/python -m pip --version) in pip\ 2[0-3].*|pip\ 24.[01]*) \
		.uv/bin/python -m pip config list 2>/dev/null | grep -q '[.]cert=' || \
			[ -z "$$store" ] || export PIP_CERT="$$store";; \
	esac

# Sets $$uv: the one on PATH, or one of our own in .uv.
find_uv = \
	$(fail); $(find_python); $(network); \
	if uv --version >/dev/null 2>&1; then uv=uv; else \
		uv=.uv/bin/uv; \
		[ -n "$$python" ] || fail "$(no_python)"; \
		"$$uv" --version >/dev/null 2>&1 || { \
			echo "Fetching uv, which installs the packages, into .uv"; \
			"$$python" -m venv --clear .uv || \
				fail "$$python cannot make a virtual environment: install its venv module" \
				"(on Debian and Ubuntu: apt install python3-venv), or uv, and run make again."; \
			$(pip_trust); \
			.uv/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION) || \
				fail "uv could not be had (pip's message is above): connect to a network or" \
				"set PIP_INDEX_URL to a package index that can be reached, and run make again."; \
		}; \
	fi

no_python = Python 3.11 to 3.14 is needed and $$(python3 --version 2>/dev/null || echo no python3) \
	was found: install one, or name yours with make setup BASE_PYTHON=/path/to/python3.12

# Each notebook kernel would warn that it listens on TCP ports of this machine: errors only.
$(STAMP): requirements.lock pyproject.toml
	@$(find_uv); \
	if [ ! -e $(STAMP) ]; then \
		rm -rf .venv; \
		"$$uv" venv -q --python "$${python:-$(PYTHON_RANGE)}" .venv || { \
			[ -n "$$python" ] || fail "$(no_python)"; \
			fail "uv could not make .venv (its message is above): see that this folder can be written."; \
		}; \
	fi; \
	rm -f $(STAMP); \
	echo "Installing into .venv (the first time this fetches torch: 3 GB on Linux, less elsewhere;" \
		"if it is interrupted, make goes on with what has not come yet)"; \
	"$$uv" pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock && \
	"$$uv" pip install -q --python $(BIN)/python --no-deps --no-build-isolation --offline -e . || \
		fail "the packages could not be installed (uv's message is above): see that there is a" \
		"network, or an index named by UV_DEFAULT_INDEX, and 6 GB of free disk, and run make again."; \
	mkdir -p .venv/etc/ipython && echo '{"IPKernelApp": {"log_level": 40}}' \
		> .venv/etc/ipython/ipython_kernel_config.json; \
	pwd -P > $(STAMP)
