# `make help` lists the targets. Only python3 (3.11 or newer) and make are needed: `setup` brings the
# rest into .uv and .venv, and each target that needs it calls it. It is quick if nothing changed.

PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .uv/bin/uv
READY := .venv/.qdwell-ready
QUIETLY := --quiet --disable-pip-version-check
DATA ?= var/qdwell
TESTS ?= tests
# A third of the tests' time is waiting: for a server's start, a browser, a time limit that passes.
PROCESSES ?= 3
PARALLEL := -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help

# Hundreds of processes start here; without its bytecode each would compile Qiskit and the rest anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup browser prometheus demo test test-clients test-long serve bench lint format docs audit release clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(READY) ## prepare .venv, and do nothing else

demo: $(READY) ## run the main job: a VQE in a session, a batch, and a second user, on one machine
	@.venv/bin/qdwell demo

browser: ## install Chromium for the tests of the console, if it is missing and we are root
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	|| command -v google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing Chromium ..." \
	  && { apt-get install -y -qq --no-install-recommends chromium \
	    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null 2>&1; } \
	|| echo "No Chromium here, and none could be installed: the console's browser tests will be SKIPPED."

prometheus: ## fetch Prometheus for the tests of the metrics, if it is missing; no service is installed
	@command -v promtool >/dev/null || [ -x .tools/usr/bin/promtool ] \
	|| { command -v apt-get >/dev/null && echo "Fetching Prometheus ..." && mkdir -p .tools && cd .tools \
	  && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } \
	  && dpkg -x prometheus_*.deb .; } >/dev/null 2>&1 \
	|| echo "No Prometheus here, and none could be fetched: tests of the metrics will be SKIPPED."

test: $(READY) browser prometheus ## run the tests, three files at a time
	@.venv/bin/python tests/clients/environments.py frameworks stock-0.23.0 || true
	@.venv/bin/pytest -q $(PARALLEL) $(TESTS)

test-clients: $(READY) ## install old stock clients and other libraries, each by itself, and run them
	@.venv/bin/python tests/clients/environments.py || true
	@.venv/bin/pytest -q -m "long or not long" --timeout 3600 tests/clients

test-long: $(READY) browser prometheus ## run the tests with their long campaigns, and the mutation check of the core
	@.venv/bin/python tests/clients/environments.py || true
	@UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --inexact --quiet --extra server --group fuzz --group audit || true
	@.venv/bin/pytest -q $(PARALLEL) -m "long or not long" --timeout 3600 $(TESTS)

serve: $(READY) ## serve on this machine, with data in DATA (var/qdwell)
	@.venv/bin/qdwell serve --data-dir $(DATA)

bench: $(READY) ## measure, and print each target beside its number
	@UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --inexact --quiet --extra server --group bench
	@.venv/bin/python -m bench

lint: $(READY) ## check style and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

format: $(READY) ## put the code in order
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

docs: $(READY) ## write the generated pages of docs/ anew, check every link, and build site/
	@.venv/bin/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict
	@echo "The site is in site/; open site/index.html"

audit: $(READY) ## look up known vulnerabilities of everything that uv.lock names
	@UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --inexact --quiet --extra server --group audit
	@$(UV) export --locked --quiet --all-extras --all-groups --no-emit-project --output-file .audit.txt >/dev/null
	@.venv/bin/python release/audit.py .audit.txt $(AUDIT); status=$$?; rm -f .audit.txt; exit $$status

release: $(READY) ## make the wheel, the source, and the list of what is in it (SBOM, CycloneDX) in dist/
	@$(UV) build --quiet --out-dir dist
	@$(UV) export --locked --quiet --all-extras --no-dev --format cyclonedx1.5 \
	  --preview-features sbom-export --output-file dist/qdwell.cdx.json >/dev/null
	@echo "In dist/:" && ls dist

clean: ## remove what setup made
	rm -rf .venv .uv .clients .tools

# ---- how the environment is made -----------------------------------------------------------------

$(READY): pyproject.toml uv.lock | $(UV)
	@echo "Preparing .venv ..."
	@UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --inexact --extra server --python "$$(command -v $(PYTHON))"
	@touch $@

$(UV):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "qdwell needs Python 3.11 or newer, and there is no $(PYTHON) here."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "qdwell needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)."; \
	  echo "Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@{ $(PYTHON) -m venv .uv && .uv/bin/python -m pip install $(QUIETLY) uv==$(UV_VERSION); } >.uv.log 2>&1 \
	|| { rm -rf .uv; $(PYTHON) -m pip install $(QUIETLY) --target .uv uv==$(UV_VERSION); } >>.uv.log 2>&1 \
	|| { cat .uv.log; rm -rf .uv .uv.log; \
	  echo "uv $(UV_VERSION) could not be installed, by venv or by pip; see above. If this Python has no"; \
	  echo "venv module, install it (Debian and Ubuntu: apt install python3-venv), then try again."; exit 1; }
	@rm -f .uv.log
