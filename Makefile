# Every target sets up what it needs on a fresh machine: a virtual environment and the pinned packages.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check properties crash soak fuzz fuzz-guided sbom audit screenshots bench bench-read bench-store evaluate-demo demo-weights format clean help

help:
	@echo "make demo           a whole hospital on loopback: studies in, drafts back, pictures in demo-out/"
	@echo "make test           all tests"
	@echo "make check          format, lint, types, import contracts, quick tests (before every commit)"
	@echo "make properties     the property tests with examples never seen before (about 5 minutes)"
	@echo "make crash          every point of a life cut, and 500 kills under load, on both databases (1 to 2 hours)"
	@echo "make soak           ten days of turned clock with flat memory, descriptors and threads (about 20 minutes)"
	@echo "make fuzz           a million damaged inputs for the parsers, 20,000 attacks on a live port"
	@echo "make fuzz-guided    the same guided by coverage, 150 seconds a parser"
	@echo "make sbom           sbom.json: what is installed, in CycloneDX"
	@echo "make audit          asks PyPI what is known against it; needs a network that reaches pypi.org"
	@echo "make screenshots    drafts in OHIF and larvitar, looked at by a program and pictured in viewer-out/ (needs chromium, orthanc, npm)"
	@echo "make bench          listener against Orthanc and dcmtk, the line's own seconds, and a backlog's"
	@echo "make bench-read     seconds a reading, against the plain way of asking the model"
	@echo "make bench-store    the index when it is full; --studies 2000000 of bench.store is the full run"
	@echo "make demo-weights   trains the synthetic demo model anew (about 90 minutes on two cores)"
	@echo "make evaluate-demo  measures the demo model on 1,000 held-out synthetic cases"

.venv.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch .venv.stamp

demo: .venv.stamp
	$(BIN)/preread demo --out demo-out

test: .venv.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile -q -m "not slow and not peers and not data"

properties: .venv.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile -q -m hypothesis --hypothesis-profile new

crash: .venv.stamp
	$(BIN)/python -m tests.crash points
	$(BIN)/python -m tests.crash kills --kills 250

soak: .venv.stamp
	$(BIN)/python -m tests.faults.soak --hours 240

fuzz: .venv.stamp
	$(BIN)/python -m tests.fuzz

# atheris is built for CPython alone and wanted for nothing else, so it stays out of the environment.
fuzz-guided: .venv.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .guided atheris==3.0.0
	for target in survey commands headers reports pixels hl7 mllp toml; do \
		PYTHONPATH=.:.guided $(BIN)/python -W ignore -m tests.fuzz.guided $$target --seconds 150 || exit 1; \
	done

# In an environment of their own: what looks at ours must not be part of it.
.supply/bin/pip-audit:
	$(PYTHON) -m venv .supply
	.supply/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip_audit==2.10.1

sbom: .venv.stamp .supply/bin/pip-audit
	.supply/bin/cyclonedx-py environment $(BIN)/python --of JSON -o sbom.json

# make audit ADVISORIES="-s osv --osv-url https://mirror/v1/query" where pypi.org cannot be reached
audit: .venv.stamp .supply/bin/pip-audit
	.supply/bin/pip-audit --strict $(ADVISORIES) --path $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")

OHIF := 3.13.2
LARVITAR := 3.8.7

screenshots: .venv.stamp .viewers/package .viewers/larvitar/package
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt playwright
	$(BIN)/python -m pytest -rs tests/viewers

.viewers/package:
	mkdir -p .viewers
	cd .viewers && npm pack --silent @ohif/app@$(OHIF) && tar xzf ohif-app-$(OHIF).tgz && rm ohif-app-$(OHIF).tgz

.viewers/larvitar/package:
	mkdir -p .viewers/larvitar
	cd .viewers/larvitar && npm pack --silent larvitar@$(LARVITAR) && tar xzf larvitar-$(LARVITAR).tgz && rm larvitar-$(LARVITAR).tgz

format: .venv.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv.stamp
	$(BIN)/python -m bench.listener
	$(BIN)/python -m bench.line
	$(BIN)/python -m bench.backlog

bench-read: .venv.stamp
	$(BIN)/python -m bench.read

bench-store: .venv.stamp
	$(BIN)/python -m bench.store

demo-weights: .venv.stamp
	$(BIN)/python -m inference.phantom.train --out inference/phantom/weights

evaluate-demo: .venv.stamp
	$(BIN)/python -m inference.phantom.train.evaluate --cases 1000

clean:
	rm -rf .venv .venv.stamp .viewers viewer-out demo-out bench-out build *.egg-info
