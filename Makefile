# The README names `make demo` and `make test`; the other targets are for developers of framewire.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SOURCES := pyproject.toml setup.py $(wildcard cext/*.* cext/kernels/*)

.PHONY: demo test meta coverage lint typing bench soak soak-asyncio soak-uvloop soak-rooms soak-broker docs wheels
.PHONY: cross clean

demo: $(VENV)/.built
	$(RUN) -m framewire demo $(if $(ONCE),--once)

# A process has one backend, so the suite runs on the default backend first, and then its tests
# marked both_backends run on the pure one. Many tests wait for a clock or a network, hence more jobs
# than 2 cores.
JOBS ?= 3
SUITE = $(RUN) -m pytest -n $(JOBS) --dist worksteal
test: $(VENV)/.built-for-test
	$(SUITE) --ignore=tests/meta -m "not alone" --junit-xml=build/tests/default.xml $(PYTEST)
	FRAMEWIRE_BACKEND=pure $(SUITE) --ignore=tests/meta -m both_backends --junit-xml=build/tests/pure.xml $(PYTEST)
	$(RUN) -m pytest tests/hostile -m alone --junit-xml=build/tests/alone.xml

# Documentation, examples, distributions and types; then check that every test named in docs/ passed.
meta: $(VENV)/.built-for-test
	$(SUITE) tests/meta --ignore=tests/meta/test_features.py --junit-xml=build/tests/meta.xml
	$(RUN) -m pytest tests/meta/test_features.py

# Coverage of every line and branch of the code without I/O, on the pure backend. Tests that measure
# time and memory are excluded, because tracing would distort them.
COVERED := protocol http session
coverage: $(VENV)/.built-for-test
	FRAMEWIRE_BACKEND=pure $(SUITE) -m "(engine or both_backends) and not exhaustive" tests/engine tests/http \
		tests/session --ignore=tests/engine/test_bounds.py $(addprefix --cov=framewire.,$(COVERED))

lint: $(VENV)/.built-for-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint cext src/framewire/_fast/*.pxd
	$(RUN) -m pytest -q tests/meta/test_layers.py
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# pyright downloads itself from npm at its first run; mypy and stubtest are part of the suite.
typing: $(VENV)/.built-for-test
	$(RUN) -m pip install --quiet --disable-pip-version-check pyright
	$(VENV)/bin/pyright --pythonpath $(RUN) tests/typing

bench: $(VENV)/.built
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(RUN) -m benchmarks --json benchmarks/results.json
	$(RUN) -m benchmarks.memory --json benchmarks/results.json
	$(RUN) -m benchmarks.bench_asyncio --json benchmarks/results.json
	$(RUN) -m benchmarks.pages

SECONDS ?= 600
SOAKS := soak-asyncio soak-uvloop soak-rooms soak-broker

# Each for SECONDS; `make -j4 soak` runs them side by side.
soak: $(SOAKS)

$(SOAKS): $(VENV)/.built-for-test

soak-asyncio soak-uvloop:
	$(RUN) -m benchmarks.soak --seconds $(SECONDS) --loop $(@:soak-%=%)

soak-rooms:
	$(RUN) -m benchmarks.soak_rooms --seconds $(SECONDS)

soak-broker:
	$(RUN) -m benchmarks.soak_rooms --seconds $(SECONDS) --broker

docs: $(VENV)/.built-for-test
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(VENV)/bin/mkdocs build --strict
	$(RUN) packaging/check_site.py site build/screenshots

# Build, install and test the pure wheel, and a manylinux2014 wheel for each interpreter in PYTHONS;
# needs git.
PYTHONS ?= $(PYTHON)
wheels: $(VENV)/.built
	$(RUN) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(RUN) -m pip install --quiet --group release
	$(RUN) packaging/wheels.py $(PYTHONS)

# Cross-compile the C for Windows, macOS and other processors; with CPYTHON=(unpacked source of
# CPython) also the extensions for Windows.
cross: $(VENV)/.built
	$(RUN) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(RUN) -m pip install --quiet --group release 'Cython>=3.3,<3.4' setuptools
	$(RUN) packaging/cross.py $(CPYTHON)

$(VENV)/.built: $(SOURCES)
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.built-for-test: $(SOURCES)
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test,adapters-test,docs-test]'
	touch $@ $(VENV)/.built

include proof.mk

clean:
	rm -rf $(VENV) build dist site src/*.egg-info src/framewire/_fast/*.so src/framewire/_fast/_build.py
