# `make` lists the targets. Each makes .venv first where it is missing or out of date.

# The interpreter that runs the installer; any python3 from 3.8 on. /usr/bin first, for `python3` may be a shim that refuses
# to start while the version in .python-version is not installed, which is for the installer to say.
HOST_PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
ACCELERATORS := build/accelerators/.installed
# A file's tests stay in one worker, for they share its fixtures; the files come in order, the long ones not last.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
SOURCES := benchmarks components pipeline serving trainer
UV := $(HOST_PYTHON) requirements/run_uv.py
RESOLVE := $(UV) pip compile --quiet --no-annotate --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock'
LOCK := $(RESOLVE) --extra all --extra dev
IMAGE_LOCK := $(RESOLVE) --extra kubeflow --constraint requirements/tfx1.21.txt --python-version 3.13 \
	--python-platform x86_64-manylinux_2_40

TASK ?= digits
MODEL ?= mnist

export PYTHON

help:  ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*##  */\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: $(INSTALLED)  ## trains and gates TASK through the local pipeline (DATA_DIR=, STEPS=, PIPELINE_ROOT=, ...)
	@$(BIN)/draw run --task "$(TASK)" $(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(if $(STEPS),--steps "$(STEPS)") \
		$(if $(TRAIN_EXAMPLES),--train-examples "$(TRAIN_EXAMPLES)") $(if $(PIPELINE_ROOT),--pipeline-root "$(PIPELINE_ROOT)")

report: $(INSTALLED)  ## shows the paper's table with the row of TASK's last model (SAMPLES=, PIPELINE_ROOT=)
	@$(BIN)/draw report --task "$(TASK)" $(if $(SAMPLES),--samples "$(SAMPLES)") \
		$(if $(PIPELINE_ROOT),--pipeline-root "$(PIPELINE_ROOT)")

figures: $(INSTALLED)  ## draws the paper's figures of TASK's last model into figures/TASK (PIPELINE_ROOT=)
	@$(BIN)/draw figures --task "$(TASK)" --out "figures/$(TASK)" \
		$(if $(PIPELINE_ROOT),--pipeline-root "$(PIPELINE_ROOT)")

test: $(INSTALLED)  ## the tests but for the slow ones
	@$(PYTEST)

test-all: $(INSTALLED) $(ACCELERATORS)  ## all the tests, then those of `test` on the other line of TFX where this host can
	@$(PYTEST) -m ""
	@tests/second_line.sh make test

job-servers:  ## builds Beam's job servers for Flink and Spark into build/engines (Java 17, Maven)
	@for engine in flink spark; do mvn --batch-mode --quiet --file=requirements/engines/$$engine.xml package; done

bench: $(INSTALLED)  ## measures the speed of every task (TASK=, AGAINST=a git revision)
	@$(BIN)/python -W ignore::FutureWarning -m benchmarks.bench $(if $(filter file,$(origin TASK)),,"$(TASK)") \
		$(if $(AGAINST),--against "$(AGAINST)")

lint: $(INSTALLED)  ## checks style, types and the direction of imports
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@report=$$($(BIN)/lint-imports --no-logo) || { echo "$$report"; exit 1; }

format: $(INSTALLED)  ## rewrites the sources in the house style
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

site: $(INSTALLED)  ## builds docs/ and the reference of the client into build/site, which opens without a network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean

wheel: $(INSTALLED)  ## builds the wheels of a release into dist: the code, and the pretrained models
	@rm -rf build/lib build/bdist.* dist  # setuptools would pack what an earlier build left behind.
	@cd pretrained && rm -rf build
	@$(BIN)/python -m pip --quiet --disable-pip-version-check wheel --no-deps --no-build-isolation --wheel-dir dist \
		. ./pretrained

lock:  ## resolves setup.py into the locks; LOCK_FLAGS=--upgrade takes newer versions
	@$(LOCK) $(LOCK_FLAGS) setup.py --output-file requirements/tfx1.16-py310.txt \
		--python-version 3.10 --python-platform x86_64-manylinux_2_28
	@$(LOCK) $(LOCK_FLAGS) setup.py --output-file requirements/tfx1.21.txt --python-version 3.11 --universal
	@$(IMAGE_LOCK) $(LOCK_FLAGS) --extra aws setup.py --output-file requirements/image/cpu.txt
	@$(IMAGE_LOCK) $(LOCK_FLAGS) --extra aws --extra gpu setup.py --output-file requirements/image/gpu.txt
	@$(RESOLVE) $(LOCK_FLAGS) requirements/accelerators.in --output-file requirements/accelerators.txt \
		--python-version 3.10 --universal

browser: $(INSTALLED)  ## builds build/browser/page: a page on which MODEL draws without a server (needs npm)
	@rm -rf build/browser/onnx  # Another model's files would stay where this one has none, such as a reference.
	@$(BIN)/draw export "$(MODEL)" --output build/browser/onnx
	@mkdir -p build/browser/npm && cp docs/browser/package.json docs/browser/package-lock.json build/browser/npm
	@npm ci --prefix build/browser/npm --ignore-scripts --no-audit --no-fund --silent
	@node docs/browser/build.mjs build/browser/onnx build/browser/npm/node_modules \
		"$$($(BIN)/python -c 'import importlib.util as u; print(*u.find_spec("onnxruntime").submodule_search_locations)')" \
		build/browser/page

clean:  ## removes build outputs and caches; keeps .venv and runs
	@rm -rf build dist *.egg-info __pycache__ .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find $(SOURCES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): setup.py requirements/install.py requirements/run_uv.py requirements/tfx1.16-py310.txt requirements/tfx1.21.txt
	@$(HOST_PYTHON) requirements/install.py

# JAX with the compiler for TPUs, away from TensorFlow, which it would disagree with about its dependencies.
$(ACCELERATORS): requirements/accelerators.txt
	@$(UV) venv --quiet --clear --python $(HOST_PYTHON) build/accelerators
	@$(UV) pip sync --quiet --python build/accelerators/bin/python $<
	@touch $@

.PHONY: help run report figures test test-all job-servers bench lint format site wheel lock browser clean
