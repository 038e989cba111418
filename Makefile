# Everything that a developer types. A first call makes .venv; see docs/development.md.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: soak live attack fuzz audit peers help demo demo-clouds chaos chaos-real test test-fast lint format lab labextension wheel drops docs picture bench lock types clean

PY := .venv/bin/python
# one worker a core; PYTEST="-n 0 -x -k ledger" replaces it
PYTEST ?= -n auto --dist worksteal

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.ready-dev ## run the notebooks and scripts of examples/ on this machine; no account, no bill
	@$(PY) examples/demo.py

demo-clouds: .venv/.ready-dev ## rent from the simulated clouds and compare the bills; no account
	@$(PY) examples/demo_clouds.py

test: .venv/.ready-dev .venv/.ready-lab ## lint and all tests (installs missing Debian packages as root)
	@.ci/system-packages tests browser
	@.ci/system-packages odd || echo "without them: their tests are skipped"
	@.ci/labextension $(PY)
	@.ci/vastai
	@$(MAKE) --no-print-directory lint
	@$(PY) -m pytest -q $(PYTEST) || .ci/again $(PY) $$?

test-fast: .venv/.ready-dev ## the tests that take no real kernels or long schedules
	@$(PY) -m pytest -q -m "not slow" $(PYTEST)

soak: .venv/.ready-dev .venv/.ready-lab ## the long schedules of which make test plays a sample: make soak MINUTES=30 SEED=...
	@.ci/system-packages tests browser
	@.ci/peers
	@$(PY) -m tests.soak $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

lint: .venv/.ready-dev ## ruff, mypy, the arrows between layers, Python 3.8 on the host
	@echo "lint: ruff check" && .venv/bin/ruff check -q .
	@echo "lint: ruff format" && .venv/bin/ruff format -q --check .
	@echo "lint: mypy" && .venv/bin/mypy --no-error-summary
	@echo "lint: layers" && .ci/quiet .venv/bin/lint-imports
	@echo "lint: agent on Python 3.8" && .ci/quiet .venv/bin/vermin -q -t=3.8- --violations --no-tips gpunb/agent

types: .venv/.ready-dev ## write openapi.yaml's schemas, the picker's columns and the extension's types from gpunb/presentation
	@$(PY) .ci/generate.py
	@.ci/labextension

format: .venv/.ready-dev ## let ruff format and repair what it can
	@.venv/bin/ruff format -q . && .venv/bin/ruff check -q --fix .

lab: .venv/.ready-lab labextension ## JupyterLab with the simulated clouds, ready to click; prints the address
	@exec $(PY) .ci/lab.py

labextension: .venv/.ready-lab ## build the JupyterLab extension if its sources changed (needs Node 20, or takes one)
	@.ci/labextension $(PY)

wheel: labextension ## dist/*.whl, with the JupyterLab extension in it
	@rm -rf dist && .venv/bin/uv build -q --out-dir dist 2>/dev/null || $(PY) -m pip wheel -q --no-deps -w dist .
	@ls dist/*.whl

drops: .venv/.ready-dev ## N=200 cuts of the line at random moments; SEED=... replays
	@.ci/system-packages tests
	@$(PY) -m tests.remote.drops --n $(or $(N),200) --seed $(or $(SEED),1)

docs: .venv/.ready-dev ## the documentation's site in build/docs, warnings being errors
	@$(PY) .ci/docs.py build/docs

picture: .venv/.ready-dev ## docs/img/quickstart.png from the executed notebook, by a headless browser
	@.ci/system-packages browser
	@test -f build/demo/quickstart.ipynb || $(PY) examples/demo.py
	@$(PY) .ci/picture.py build/demo/quickstart.ipynb docs/img/quickstart.png

chaos: .venv/.ready-dev ## random crashes and faults over four simulated clouds: make chaos N=1000 SEED=0
	@$(PY) -m tests.chaos $(or $(N),200) --seed $(or $(SEED),0)

chaos-real: .venv/.ready-dev ## real processes killed at random moments, in real time: make chaos-real N=30 SEED=0
	@$(PY) -m tests.chaos.real $(or $(N),30) --seed $(or $(SEED),0)

bench: .venv/.ready-dev ## the benchmarks, by name: make bench NAME=startup
	@$(PY) -m benchmarks $(if $(NAME),$(NAME),--list)

lock: .venv/.ready-dev ## bring .ci/constraints.txt up to date
	@.venv/bin/uv pip compile -q --universal --python-version 3.10 --upgrade --extra dev --extra lab \
		--no-header --no-annotate --no-emit-index-url pyproject.toml -o .ci/constraints.txt

attack: .venv/.ready-dev ## hostile servers, clouds, agents, files and pages against gpunb; a table of what each came to
	@.ci/system-packages tests browser
	@$(PY) -m tests.attack

fuzz: .venv/.ready-dev ## random bytes for all that reads a stranger's: make fuzz MINUTES=10
	@.venv/bin/uv pip install -q --python $(PY) atheris || echo "atheris can't be installed here: without it"
	@$(PY) -m tests.fuzz.run $(or $(MINUTES),10)

peers: .venv/.ready-dev ## SkyPilot and dstack, unchanged, rent from the simulated Vast (installs 600 MB under build/)
	@.ci/peers
	@$(PY) -m pytest -q -rs tests/sim/test_peers.py

live: .venv/.ready-dev ## a real account: make live CLOUD=vast BUDGET=1 rents for 15 min and records what the cloud answers
	@$(PY) -m tests.live $(CLOUD) --budget $(BUDGET)

audit: .venv/.ready-dev ## known holes in the packages that .ci/constraints.txt pins (asks the network)
	@.ci/audit

clean: ## remove what make made: .venv, build, caches
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

.venv/.ready-%: pyproject.toml .ci/venv .ci/constraints.txt
	@.ci/venv $*
