# Every command of the project. `make help` lists them.
#
# The commands run in the environment that is activated, else in one of their own, .venv; `make` installs into it what
# it lacks. A C++ compiler, make, Python >= 3.10 with venv and pip's access to packages suffice.
#   make test PYTHON=python3.12         the interpreter that .venv is made from; a torch that it has is used
#   make test VENV=path/to/environment  an environment that exists already; a torch that it has is used
#   make test TORCH=2.14.1              the torch to install where there is none
PYTHON ?= python3
VENV ?= $(or $(VIRTUAL_ENV),.venv)
TORCH ?= 2.13.0
ARGS ?=
# Tests run in this many processes of one thread each; PROCESSES=0: in one process, as a debugger needs it.
# Tests of one file share what is dear to make, so a file stays in one process; conftest.py puts the slow files first.
PROCESSES ?= $(shell n=$$(nproc); echo $$((n > 8 ? 8 : n)))
SPREAD = $(if $(filter-out 0,$(PROCESSES)),-n $(PROCESSES) --dist loadfile --no-loadscope-reorder)
RUN := $(VENV)/bin/python
READY := $(VENV)/.vtcd-ready
CPP_FILES = $(shell git ls-files '*.cpp' '*.h' '*.cu' '*.cuh')

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(READY)  ## set up the environment: torch, the tools, this package (editable)
$(READY): pyproject.toml $(wildcard integrations/*/pyproject.toml)
	build_tools/environment.sh "$(PYTHON)" "$(VENV)" "$(TORCH)"
	@touch $@

build: $(READY)  ## compile the operators in place, incrementally
	@mkdir -p build
	flock build/.lock env PATH="$(abspath $(VENV))/bin:$$PATH" $(RUN) setup.py -q build_ext --inplace

debian:  # GoogleTest, a browser and a renderer for the tests: Debian's packages, where they are missing
	@build_tools/debian_packages.sh

test: build debian  ## run every test: Python, C++ under the sanitizers, examples in the documentation
	PATH="$(abspath $(VENV))/bin:$$PATH" OMP_NUM_THREADS=1 $(RUN) -m pytest $(SPREAD) $(ARGS)

# The tests are of baseline x86-64: what packs of 4 and 8 doubles read and write beside it is looked at here.
SANITIZED ?= v3 v4
EIGEN = $(shell cd build_tools && $(RUN) -c "from vtcd_locate import find_eigen as find; print(find() or '')")
sanitize: $(READY) debian  ## the core's C++ tests as AVX2 and AVX-512 under the address and undefined-behaviour sanitizers
	export PATH="$(abspath $(VENV))/bin:$$PATH"; for level in $(SANITIZED); do \
	  cmake -S . -B build/cpp-x86-64-$$level -G Ninja -DVTCD_TESTS=ON -DVTCD_WERROR=OFF -DVTCD_SANITIZE=address,undefined \
	    -DVTCD_TEST_FLAGS=-march=x86-64-$$level $(if $(EIGEN),-DEIGEN3_INCLUDE_DIR=$(EIGEN)) && \
	  cmake --build build/cpp-x86-64-$$level --target core_tests && \
	  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 build/cpp-x86-64-$$level/core_tests --gtest_brief=1 || exit 1; \
	done

FUZZ ?= 600
fuzz: fuzz-core fuzz-readers fuzz-operators  ## all fuzzing: the C++ core, readers of files (FUZZ=seconds for each), operators (CALLS=)

fuzz-core: $(READY)  ## random problems for the C++ core under libFuzzer and the sanitizers (needs clang; FUZZ=seconds)
	PATH="$(abspath $(VENV))/bin:$$PATH" cmake -S . -B build/fuzz -G Ninja -DVTCD_FUZZ=ON -DVTCD_WERROR=OFF \
	  -DCMAKE_CXX_COMPILER=clang++ $(if $(EIGEN),-DEIGEN3_INCLUDE_DIR=$(EIGEN))
	$(VENV)/bin/cmake --build build/fuzz --target core_fuzzer
	mkdir -p build/fuzz/corpus
	cd build/fuzz && ./core_fuzzer -max_total_time=$(FUZZ) -max_len=4096 -timeout=30 corpus

fuzz-readers: build  ## files that nobody would write, for the readers of labels, weights, manifests, masks, results (FUZZ=seconds)
	$(RUN) tests/pipeline/reader_fuzzer.py --seconds $(FUZZ) --seed $${SEED:-0}

CALLS ?= 10000
fuzz-operators: build  ## calls of the operators with arguments that nobody would give (CALLS=)
	$(RUN) tests/ops/operator_fuzzer.py --calls $(CALLS) --seed $${SEED:-0}

lint: $(READY)  ## check style, types and format of Python and C++
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports --no-cache
	$(RUN) build_tools/check_source.py
	$(VENV)/bin/clang-format --dry-run -Werror $(CPP_FILES)

format: $(READY)  ## format Python and C++
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .
	$(VENV)/bin/clang-format -i $(CPP_FILES)

bench: build  ## run every benchmark and renew the tables (an hour or less; use a quiet machine)
	for benchmark in benchmarks/bench_*.py; do $(RUN) $$benchmark || exit 1; done
	$(MAKE) tables

tables: $(READY)  ## renew the tables of README.md and docs/ from benchmarks/results/*.json
	$(RUN) benchmarks/tables.py

docs: build  ## the documentation as a site in build/docs; a warning is an error
	$(RUN) -m sphinx -b html -W --keep-going -q docs build/docs
	@echo "build/docs/index.html"

TUTORIALS ?= $(wildcard docs/tutorials/*.md)
tutorials: build  ## run the cells of the tutorials again and renew what they wrote and drew (TUTORIALS=page)
	$(RUN) build_tools/run_tutorial.py $(TUTORIALS)

notebooks: $(READY)  ## the tutorials as notebooks of Jupyter beside their pages, with what their cells wrote
	$(RUN) build_tools/run_tutorial.py --notebook $(TUTORIALS)

kernels: build  ## what every CUDA kernel takes of a GPU, in docs/kernels.md; fails where one spills more registers than is known
	$(RUN) build_tools/ptxas.py

wheel: $(READY)  ## sdist and wheel in dist/ (CUDA where nvcc is), tried in a fresh environment: doctor, demo
	build_tools/wheel.sh "$(VENV)"

OUT ?= build/gpu
DRY_RUN ?=
gpu:  ## on a GPU, with libraries that are built: tests, sanitizers, benchmarks in at most 8 minutes (OUT=folder, DRY_RUN=1: without)
	$(if $(wildcard $(RUN)),$(RUN),$(PYTHON)) benchmarks/gpu/run.py $(OUT) $(if $(DRY_RUN),--dry-run) $(ARGS)

demo: build  ## the whole pipeline on bundled clips with a bundled miniature model
	$(VENV)/bin/vtcd demo $(ARGS)

REPRODUCED ?= reproduced
reproduce: build  ## the paper's tables on the miniatures (several hours; ARGS=--quick: fewer videos and masks)
	$(RUN) -m reproduce $(REPRODUCED) $(ARGS)

test-abi: TORCH = 2.15.0
test-abi: OTHER = build/torch-$(TORCH)
test-abi: $(READY)  ## build a wheel with the torch of .venv, test that wheel under another: TORCH=2.10.0
	PYTHON="$(PYTHON)" build_tools/test_abi.sh "$(VENV)" "$(OTHER)" "$(TORCH)"

clean:  ## remove what was built, but not the environment
	rm -rf build dist *.egg-info vtcd_ops/_C_*.so

.PHONY: help env build debian test sanitize fuzz fuzz-core fuzz-readers fuzz-operators lint format bench tables docs tutorials notebooks kernels wheel gpu demo reproduce test-abi clean
