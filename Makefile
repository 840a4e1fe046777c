# Everything runs in .venv, which holds exactly what requirements.txt locks. `make help` lists the targets.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
export PATH := $(CURDIR)/.venv/Scripts;$(PATH)
else
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
endif
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH # of the user's other programs
MODEL ?=
TARGET = $(if $(MODEL),evaluate@$(MODEL))
# As they were typed: make would take `$` in them for a variable. A comment behind one would add a space.
override export TEXT := $(value TEXT)
override export FILE := $(value FILE)
# `--name "$NAME"`, if NAME was given to make; a variable of the shell is none of ours.
option = $(if $(filter command,$(firstword $(origin $2))),--$1 "$$$2")
PYTEST = python -m pytest --numprocesses 2 --dist worksteal --max-worker-restart 0
EMULATORS ?= qemu-x86_64 -cpu Haswell,qemu-x86_64 -cpu EPYC,qemu-x86_64 -cpu Skylake-Client

.PHONY: help setup mpi demo corpus repro predict export verify-export check test test-processors gate verify report \
  plots noise faults bench compare lint audit lock .venv-bench
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create .venv from requirements.txt, unless it is there
	@$(PYTHON) install.py .venv requirements.txt

mpi: ## add MPI to .venv, for LAUNCHER="mpiexec -n 4" make repro
	@$(PYTHON) install.py .venv requirements.txt requirements-mpi.txt

demo: setup ## the whole pipeline in a scratch folder on reviews it makes up, offline
	@python -m demo

corpus: setup ## look at labelled texts, and write their section and a model's into params.yaml: FILE=reviews.csv NAME=mine
	@python -m corpora $(call option,name,NAME) $(if $(value TEXT),--text "$$TEXT") $(call option,label,LABEL) \
	  $(call option,labels,LABELS) $(call option,encoding,ENCODING) $(call option,separator,SEPARATOR) \
	  $(call option,format,FORMAT) $(call option,language,LANGUAGE) $(call option,license,LICENSE) \
	  $(if $(call option,compare,COMPARE),--compare) -- "$$FILE"

repro: setup ## the whole pipeline on the IMDB reviews, and its metrics; MODEL=small for one model
	@python -E -m stages.common.leftovers
	@python -E -m stages.params $(if $(MODEL),--model '$(MODEL)')
	dvc repro $(TARGET) || { python -E -m stages.common.leftovers --after; exit 1; }
	@dvc metrics show $(or $(patsubst %,metrics/%.json,$(MODEL)),metrics/*.json)

predict: setup ## predict the label of TEXT='...', or of each line of standard input; MODEL=small
	@python -m sentiment $(if $(MODEL),--model '$(MODEL)') $(if $(value TEXT),-- "$$TEXT")

export: setup ## MODEL=small as one folder for people without this project: exported/small/
	@python -m export $(MODEL)

verify-export: setup ## prove an exported folder by its own recipe: FOLDER=exported/small
	@python -m export.verify $(FOLDER)

check: lint ## lint, types and the tests that run no pipeline: after each change
	@$(PYTEST) -m 'not slow'

test: mpi ## all tests but those on emulated processors
	@$(PYTEST)

test-processors: setup ## training and scoring on emulated processors: EMULATORS="qemu-x86_64 -cpu Haswell,..."
	@$(PYTEST) -k emulated --emulators '$(EMULATORS)'

gate: setup ## does dvc.lock describe this tree? in a second, without data
	@python -m checks.gate

verify: setup ## prove a committed result by rerunning it: MODEL=small for one model, REV=rev for another revision
	@python -m checks.verify $(TARGET) $(if $(REV),--rev $(REV))

report: setup ## what changed since main, in report/index.html and report/report.md; BASE=rev for another commit
	@python -m checks.report $(if $(BASE),--base $(BASE))

plots: setup ## all plots of the working tree on a page that needs no network, report/plots.html
	@python -m checks.report --plots

noise: setup ## standard deviation of the metrics over random seeds: MODEL=small SEEDS=5 ENGINE=keras
	@python -m benchmarks.noise $(MODEL) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST)) $(if $(ENGINE),--engine $(ENGINE))

faults: setup ## break `dvc repro` in many ways and see that the next one mends it: TRIES=120 ONLY=kill
	@python -m faults $(if $(TRIES),--tries $(TRIES)) $(if $(ONLY),--only $(ONLY))

bench: .venv-bench ## ratios against Keras and PyTorch, side by side: ROWS=small; needs `make repro` and IMDB_SOURCE
	@python -m benchmarks $(if $(ROWS),--rows '$(ROWS)')

compare: setup ## accuracy of all models by training time and by number of reviews, in experiments/; needs `make repro`
	@python -m experiments.compare

lint: setup ## ruff: check and format; ty: names that are not there, on any platform
	ruff check
	ruff format --check
	$(foreach platform,linux darwin win32,ty check --output-format concise --python-platform $(platform) &&) true

audit: setup ## known vulnerabilities of the locked packages, by pip-audit; needs the internet
	@uv tool run --quiet pip-audit==2.10.1 --strict --disable-pip --require-hashes --progress-spinner off \
	  --requirement requirements.txt --requirement requirements-mpi.txt 2>.venv/audit.log || \
	  { sed -n '$$s/^/error: /p' .venv/audit.log >&2; exit 1; }

lock: setup ## resolve pyproject.toml into requirements.txt again, one version of each package for every Python
	uv pip compile --quiet --universal --python-version 3.10 --fork-strategy fewest --generate-hashes --upgrade \
	  --group dev --custom-compile-command 'make lock' --no-emit-index-url --output-file requirements.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.10 --fork-strategy fewest --generate-hashes --upgrade \
	  --group mpi --custom-compile-command 'make lock' --no-emit-index-url --output-file requirements-mpi.txt

.venv-bench: setup
	@$(PYTHON) install.py .venv-bench benchmarks/requirements.txt
