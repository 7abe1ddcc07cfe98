# One command each. The first run makes .venv from the locks and fetches the pre-trained parts, which takes minutes and
# shows what it does; later runs start at once. Options: PYTHON=python3.12, ARGS="..." for the command that is run.

PYTHON ?= python3
ARGS ?=

VCEMO_DATA ?= ../shared/data

VENV := .venv
TINY := $(VENV)/tiny
BIN := $(VENV)/bin
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--no-emit-index-url --custom-compile-command "make lock" $(ARGS)

# numba compiles for librosa, which training uses; the result belongs to this installation.
export NUMBA_CACHE_DIR := $(CURDIR)/$(VENV)/numba-cache

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test check train-tiny bench assets lock vendor audit sbom clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/installed-base assets ## Start the service on port 8000; ARGS="--port 9000"
	@exec $(BIN)/python -m service $(ARGS)

test: $(VENV)/installed-dev assets ## Run every test; ARGS="tests/test_audio.py -x"
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses auto --maxprocesses 4 --dist loadfile)

check: $(VENV)/installed-dev ## Lint, formatting, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

train-tiny: $(VENV)/installed-dev assets ## Prepare, train, evaluate, export and recognise on the CPU: minutes
	$(BIN)/python -m training prepare plain --root $(VCEMO_DATA)/casia/manifest.jsonl --out $(TINY)/casia --limit 60
	$(BIN)/python -m training train tiny --data $(TINY) $(ARGS)
	$(BIN)/python -m training report tiny --data $(TINY) --out $(TINY)/report.html
	$(BIN)/python -m training export tiny --data $(TINY) --out $(TINY)/bundle
	$(BIN)/python -m model recognize tests/recordings/leave_a_message.wav --bundle $(TINY)/bundle

bench: $(VENV)/installed-dev assets ## Measure; ARGS="shows NAME", nothing for what there is
	$(BIN)/python -m bench $(or $(ARGS),--help)

assets: $(VENV)/installed-base ## Fetch the pre-trained parts that are not there yet
	@$(BIN)/python -m model.assets fetch

lock: $(VENV)/installed-dev ## Renew requirements/*.lock; ARGS=--upgrade for newer versions
	$(COMPILE) -o requirements/base.lock
	$(COMPILE) --extra training --extra s3 --extra archive --extra dev --constraint requirements/base.lock -o requirements/dev.lock
	$(COMPILE) --extra s3 --extra postgres --constraint requirements/dev.lock -o requirements/image.lock
	$(COMPILE) --extra training --extra s3 --extra postgres --extra archive --constraint requirements/dev.lock -o requirements/training.lock
	$(COMPILE) --group gpu --extra s3 --extra postgres --constraint requirements/dev.lock --no-emit-package onnxruntime -o requirements/gpu.lock

# What the page loads lies in the repository, so that serving and testing need no npm; versions and checksums are in
# requirements/npm.
NPM := build/npm/node_modules
PAGE := service/dashboard/vendor
vendor: ## Copy the dashboard's libraries as requirements/npm pins them; needs npm
	@mkdir -p build/npm $(PAGE)
	cp requirements/npm/package.json requirements/npm/package-lock.json requirements/npm/.npmrc build/npm/
	cd build/npm && npm ci --no-progress
	cp $(NPM)/preact/dist/preact.mjs $(PAGE)/preact.js
	cp $(NPM)/preact/hooks/dist/hooks.mjs $(PAGE)/preact-hooks.js
	cp $(NPM)/preact/LICENSE $(PAGE)/preact.LICENSE
	cp $(NPM)/htm/dist/htm.module.js $(PAGE)/htm.js
	cp $(NPM)/htm/LICENSE $(PAGE)/htm.LICENSE
	cp $(NPM)/wavesurfer.js/dist/wavesurfer.esm.js $(PAGE)/wavesurfer.js
	cp $(NPM)/wavesurfer.js/LICENSE $(PAGE)/wavesurfer.LICENSE
	@mkdir -p bench/axe
	cp $(NPM)/axe-core/axe.min.js $(NPM)/axe-core/LICENSE bench/axe/

# A package that the service does not know counts as none: strict, or an audit of nothing would end well.
audit: $(VENV)/installed-dev ## Ask a public service for known vulnerabilities of what serving needs; ARGS="-s osv"
	@mkdir -p build
	@$(BIN)/pip-audit --requirement requirements/base.lock --no-deps --disable-pip --strict --progress-spinner off \
		$(ARGS) 2> build/audit.log && code=0 || code=$$?; \
	grep -E '^(No known vulnerabilities|Found [0-9]+ known)' build/audit.log || { \
		tail -n 1 build/audit.log | cut -c 1-200 >&2; \
		echo 'error: nothing was audited: no service that knows vulnerabilities answered (build/audit.log)' >&2; \
		exit 1; }; \
	exit $$code

sbom: $(VENV)/installed-dev ## List what serving needs for machines: build/sbom.json (CycloneDX)
	@mkdir -p build
	@$(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements requirements/base.lock --pyproject pyproject.toml \
		--output-reproducible --output-file build/sbom.json
	@echo build/sbom.json

clean: ## Remove .venv and every cache in the checkout
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each file says that its step is done; a changed lock or pyproject.toml does it again.
$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 to 3.13 is needed, $(PYTHON) is " + sys.version.split()[0] + "; use make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed-base: $(VENV)/created requirements/base.lock pyproject.toml
	@echo "Installing what serving needs: about 95 packages, 400 MB of downloads"
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --requirement requirements/base.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --editable .
	@touch $@

# With dependencies, unlike the base: those of torch follow from the build of it that pip finds.
$(VENV)/installed-dev: $(VENV)/installed-base requirements/dev.lock
	@echo "Installing what training and tests need besides, torch among it"
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements/dev.lock
	@touch $@
