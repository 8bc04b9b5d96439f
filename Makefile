# The two commands that matter: `make drill` and `make test`. Everything they need is brought by `.venv` and the cache.
PYTHON ?= python3
DRILL ?= worker
DELAYS ?= instant
WORLD ?= drill
VENV := .venv
MUTATION := build/mutation
RUN := $(VENV)/bin/python
LOCAL := $(RUN) -m infra.local

.DEFAULT_GOAL := help
.PHONY: help drill test lint unit integration e2e mutation up status down clean shell deploy bench

help: ## what there is to do
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/complete: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Regrow needs Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@echo "installing Python packages into $(VENV)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

drill: $(VENV)/complete ## lose a machine of a real cluster and watch it heal (DRILL=worker|missed|scale-in|spot|health|volume|…; README.md has them all)
	@$(LOCAL) drill $(DRILL) --world $(WORLD) --delays $(DELAYS)

test: lint unit integration e2e ## everything that must hold before a change lands

lint: $(VENV)/complete ## style, types, import layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=. $(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/cfn-lint infra/*/template.yaml

unit: $(VENV)/complete ## decisions, as tables and properties
	$(VENV)/bin/pytest tests/unit tests/faults

# Two processes: in one that has extended moto for the local world, the other tests would find it extended.
integration: $(VENV)/complete ## one edge each, against its real other side
	$(VENV)/bin/pytest tests/integration/functions tests/integration/node
	$(VENV)/bin/pytest tests/integration/cloud tests/integration/deploy tests/integration/local

e2e: $(VENV)/complete ## drills and bad input on a real cluster of its own
	$(VENV)/bin/pytest tests/e2e
	$(VENV)/bin/pytest tests/e2e_control_planes

$(MUTATION)/complete: requirements-mutation.txt $(VENV)/complete
	@rm -rf $(MUTATION)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --target $(MUTATION) -r requirements-mutation.txt
	@touch $@

mutation: $(MUTATION)/complete ## which small changes of what decides no test notices (MUTATE=quorum|guards|…: one set)
	@PYTHONPATH=$(MUTATION) $(RUN) tests/mutation.py $(MUTATE)

up: $(VENV)/complete ## a local cluster with Regrow deployed
	@$(LOCAL) up --world $(WORLD) --delays $(DELAYS)

status: $(VENV)/complete ## the worlds and their machines
	@$(LOCAL) status --world $(WORLD)

shell: $(VENV)/complete ## a prompt inside the world, with kubectl and AWS set
	@$(LOCAL) shell --world $(WORLD)

down: $(VENV)/complete ## stop the local cluster, keep its logs
	@$(LOCAL) down --world $(WORLD)

clean: $(VENV)/complete ## stop and remove every local world
	@$(LOCAL) clean

deploy: $(VENV)/complete ## deploy to the AWS account of your environment: make deploy CLUSTER=name
	@$(RUN) -m infra.deploy --cluster $(CLUSTER)

bench: $(VENV)/complete ## measure what docs/figures.md claims
	@$(RUN) -m bench
