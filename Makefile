# make demo   run a ramp against a simulated server, and make its report      make test   run all tests
# Both create an environment in .venv and install what they need.
# make real   install the software for tests/real (Gradio apps, a proxy, engines, datasets), each in an environment below .real

PYTHON ?= python3
WIRE := $(wildcard llmlocust/wire/*.[ch])
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test real check browser install clean

demo: install
	$(BIN)/llmlocust demo

test: $(VENV)/dev browser
	$(BIN)/python -m pytest -n 10 --dist loadgroup --no-loadscope-reorder $(ARGS)

real: $(patsubst tests/real/needs/%,.real/%/installed,$(basename $(wildcard tests/real/needs/*.*)))

.real/%/installed: tests/real/needs/%.txt
	$(PYTHON) -m venv .real/$*
	.real/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

.real/%/installed: tests/real/needs/%.sh
	sh $< $(PYTHON) .real/$*
	touch $@

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_words.py

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml tools/make_venv.py $(WIRE)
	$(PYTHON) tools/make_venv.py $(VENV) .
	touch $@

$(VENV)/dev: pyproject.toml tools/make_venv.py $(WIRE)
	$(PYTHON) tools/make_venv.py $(VENV) '.[dev]'
	touch $(VENV)/installed $@

# The tests of pages need a Chromium. Without one, they are skipped with a message.
browser: $(VENV)/dev
	@tools/chromium.sh $(BIN)/python

clean:
	rm -rf $(VENV)
