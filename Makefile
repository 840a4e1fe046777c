# All commands run in .venv, which has exactly the packages of requirements.txt. `make help` lists the targets.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
export PATH := $(CURDIR)/.venv/Scripts;$(PATH)
else
ifneq (,$(findstring :,$(CURDIR)))
$(error expected a path without ":", which ends a folder in PATH, got $(CURDIR); move this folder)
endif
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
endif
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH # settings for the user's other programs
MODEL ?=
TARGET = $(if $(MODEL),evaluate@$(MODEL))
# The values as they were typed, because make would expand a `$` in them. A comment in these lines would add a space.
override export TEXT := $(value TEXT)
override export FILE := $(value FILE)
# `--name "$NAME"` if NAME was given on make's command line. A variable of the shell with this name is ignored.
option = $(if $(filter command,$(firstword $(origin $2))),--$1 "$$$2")
PYTEST = python -m pytest --numprocesses 2 --dist worksteal --max-worker-restart 0
EMULATORS ?= qemu-x86_64 -cpu Haswell,qemu-x86_64 -cpu EPYC,qemu-x86_64 -cpu Skylake-Client

.PHONY: help setup mpi demo corpus repro predict export verify-export check test test-processors gate verify report \
  plots noise faults bench compare docs lint audit bom lock .venv-bench .venv-docs
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the locked packages of requirements.txt in .venv, unless it has them; other targets do it first
	@"$(PYTHON)" install.py .venv requirements.txt

mpi: ## add MPI to .venv, for LAUNCHER="mpiexec -n 4" make repro
	@"$(PYTHON)" install.py .venv requirements.txt requirements-mpi.txt

demo: setup ## run the pipeline for four small models on generated reviews, in a scratch folder and offline
	@python -m demo

corpus: setup ## detect the format of your texts, choose a model, write both to params.yaml: FILE=reviews.csv NAME=mine
	@python -m corpora $(call option,name,NAME) $(if $(value TEXT),--text "$$TEXT") $(call option,label,LABEL) \
	  $(call option,labels,LABELS) $(call option,encoding,ENCODING) $(call option,separator,SEPARATOR) \
	  $(call option,format,FORMAT) $(call option,quoting,QUOTING) $(call option,language,LANGUAGE) \
	  $(call option,license,LICENSE) $(if $(call option,compare,COMPARE),--compare) -- "$$FILE"

repro: setup ## run the pipeline for all models and print the metrics; MODEL=small for one model
	@python -E -m stages.common.leftovers
	@python -E -m stages.params $(if $(MODEL),--model '$(MODEL)')
	@echo 'dvc repro $(TARGET)'
	@dvc repro $(TARGET) || { python -E -m stages.common.leftovers --after; exit 1; }
	@dvc metrics show $(or $(patsubst %,metrics/%.json,$(MODEL)),metrics/*.json)

predict: setup ## predict the label of TEXT='...', or of each line of standard input: MODEL=small, after make repro
	@python -m sentiment $(if $(MODEL),--model '$(MODEL)') $(if $(value TEXT),-- "$$TEXT")

export: setup ## write a model to exported/small/, for people without this project: MODEL=small, after a commit
	@python -m export $(MODEL)

verify-export: setup ## rerun the commit of an exported folder, make it again, compare every byte: FOLDER=exported/small
	@python -m export.verify $(FOLDER)

check: lint ## run lint and the tests that run no pipeline, for use after each change
	@$(PYTEST) -m 'not slow'

test: mpi ## run all tests but those on emulated processors
	@$(PYTEST)

test-processors: setup ## train and predict on emulated processors: EMULATORS="qemu-x86_64 -cpu Haswell,..."
	@$(PYTEST) -k emulated --emulators '$(EMULATORS)'

gate: setup ## compare dvc.lock with the code, the params and the results in Git; in seconds, without data
	@python -m checks.gate

verify: setup ## rerun the last commit and compare every output; MODEL=small for one model, REV=rev for another commit
	@python -m checks.verify $(TARGET) $(if $(REV),--rev $(REV))

report: setup ## compare metrics, params and plots with the last commit or main branch, in report/; BASE=rev for another
	@python -m checks.report $(if $(BASE),--base $(BASE))

plots: setup ## draw all plots of the working tree in report/plots.html, which needs no network
	@python -m checks.report --plots

noise: setup ## measure the standard deviation of the metrics over random seeds: MODEL=small SEEDS=8 ENGINE=keras
	@python -m benchmarks.noise $(MODEL) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST)) $(if $(ENGINE),--engine $(ENGINE))

faults: setup ## kill and damage runs of the pipeline, and check that the next run repairs them: TRIES=120 ONLY=kill
	@python -m faults $(if $(TRIES),--tries $(TRIES)) $(if $(ONLY),--only $(ONLY))

bench: .venv-bench ## compare the speed with Keras, JAX, PyTorch; ROWS=small for one row; needs make repro and IMDB_SOURCE
	@python -m benchmarks $(if $(ROWS),--rows '$(ROWS)')

compare: setup ## measure accuracy and training time of all models on 1,000 to 25,000 reviews; needs make repro
	@python -m experiments.compare

docs: .venv-docs ## build the documentation in build/docs/index.html; a broken link is an error
	@.venv-docs/bin/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env \
	  -c docs . build/docs

lint: setup ## check code and format by ruff, names on each platform by ty, and workflows by zizmor
	ruff check
	ruff format --check
	$(foreach platform,linux darwin win32,ty check --output-format concise --python-platform $(platform) &&) true
	zizmor --offline --quiet .

audit: setup ## look up known vulnerabilities of the locked packages by pip-audit; needs the internet
	@uv tool run --quiet pip-audit==2.10.1 --strict --disable-pip --require-hashes --progress-spinner off \
	  --requirement requirements.txt --requirement requirements-mpi.txt --requirement benchmarks/requirements.txt \
	  2>.venv/audit.log || \
	  { sed -n '$$s/$$/; pip-audit asks the package index for advisories, which a mirror may lack/; $$s/^/error: /p' \
	  .venv/audit.log >&2; exit 1; }

bom: setup ## write bom.json, a bill of materials of requirements.txt in CycloneDX, by cyclonedx-py
	@uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --output-reproducible \
	  --output-file bom.json requirements.txt

lock: setup ## write the lock files again from pyproject.toml, with one version of each package for every Python
	uv pip compile --quiet --universal --python-version 3.10 --fork-strategy fewest --generate-hashes --upgrade \
	  --group dev --custom-compile-command 'make lock' --no-emit-index-url --output-file requirements.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.10 --fork-strategy fewest --generate-hashes --upgrade \
	  --group mpi --custom-compile-command 'make lock' --no-emit-index-url --output-file requirements-mpi.txt
	uv pip compile --quiet --universal --python-version 3.10 --fork-strategy fewest --generate-hashes --upgrade \
	  --group docs --custom-compile-command 'make lock' --no-emit-index-url --output-file docs/requirements.txt

.venv-bench: setup
	@"$(PYTHON)" install.py .venv-bench benchmarks/requirements.txt

.venv-docs: setup
	@"$(PYTHON)" install.py .venv-docs docs/requirements.txt
