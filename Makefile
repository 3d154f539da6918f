# Every command of the project. `make help` lists them.
PYTHON ?= python3
build:  ## compile the operator libraries in place, incrementally
	@mkdir -p build
	flock build/.lock $(PYTHON) setup.py -q build_ext --inplace
.PHONY: build
