# Fuzzing, sanitizers, conformance and emulation: the evidence for docs/security.md. Each target
# prints its counts. Debian packages that they need: clang-14 and libclang-rt-14-dev (fuzz), gcc
# (asan, tsan), valgrind, qemu-user-static and gcc-*-linux-gnu* (qemu), mmdebstrap (qemu-twins),
# Python 2.7 (autobahn).
PYTHON27 ?= $(lastword python2.7 $(wildcard $(HOME)/.pyenv/versions/2.7.*/bin/python2.7))
CLANG ?= clang-14
TIME ?= 10
GROUPS ?= 1,2,3,4,5,6,7,9,10
BACKENDS ?= fast,pure
KERNELS := $(wildcard cext/kernels/*.c)

.PHONY: wasm pypy autobahn upstream applications parity microhttpd handlers wpt fuzz fuzz-kernels fuzz-twins
.PHONY: mutants mutants-kernels asan valgrind leaks simulate interop symbolic free-threaded tsan qemu qemu-twins

# The fuzzing server listens on all interfaces, so it runs in a network namespace of its own.
autobahn: $(VENV)/.built-for-test build/autobahn/bin/wstest
	unshare --net sh -c 'ip link set lo up && exec $(RUN) tests/autobahn/run.py build/autobahn/bin/wstest \
		--groups $(GROUPS) --backends $(BACKENDS)'

build/autobahn/bin/wstest:
	$(PYTHON) -m venv build/autobahn-tools
	build/autobahn-tools/bin/pip install --quiet --disable-pip-version-check 'virtualenv<20.22'
	build/autobahn-tools/bin/virtualenv --quiet --python $(PYTHON27) build/autobahn
	build/autobahn/bin/pip install --quiet autobahntestsuite==25.10.1

# Run the test suites of the accelerated libraries with and without acceleration. Set
# SUITES="websockets=FOLDER" to run a checked-out suite.
upstream: $(VENV)/.built-for-test
	$(RUN) tests/adapters/run_upstream.py $(SUITES)

# Run real programs with and without acceleration, and compare what their clients see: Jupyter Server
# with a kernel, Bokeh, Panel and Streamlit in Chromium. It installs each in an environment below
# build/applications; APPLICATIONS are some of them. The short form, which CI runs, is
# APPLICATIONS=tornado: a page of tornado in Chromium, with messages of the same sizes and kinds,
# which installs nothing. tests/adapters/test_tornado.py has the other behaviour of tornado.
APPLICATIONS ?=

applications: $(VENV)/.built-for-test
	PYTHONPATH=src $(RUN) tests/applications/run.py $(APPLICATIONS)

# The suite of websockets against framewire; SUITE=FOLDER is a checkout of its repository, PARTS some of its parts. Its
# proxies listen on ports that are fixed, so the run has a network of its own.
PARTS ?=

parity: build/parity/.installed
	PYTHONPATH=src unshare --net sh -c 'ip link set lo up && \
		exec build/parity/bin/python tests/parity/run.py $(SUITE) $(PARTS)'

build/parity/.installed: $(VENV)/.built-for-test
	$(PYTHON) -m venv build/parity
	build/parity/bin/pip install --quiet --disable-pip-version-check h11 mitmproxy pytest python-socks trio \
		'websockets==17.*' werkzeug
	touch $@

# The test program of libmicrohttpd_ws on framewire; SUITE=FOLDER is a checkout of the repository Karlson2k/libmicrohttpd.
microhttpd: $(VENV)/.built-for-test
	$(RUN) tests/seeds/microhttpd/run.py $(SUITE) --backends $(BACKENDS)

# Run a scripted client against the pywebsocket handlers below SUITE=FOLDER, and compare with the
# results in tests/seeds/handlers.json, which are kept by the name of the folder; with
# REFERENCE=PYTHON, an interpreter that has pywebsocket3 4.0.2, also with pywebsocket3.
handlers: $(VENV)/.built-for-test
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[pywebsocket]'
	$(RUN) tests/seeds/handlers.py $(SUITE) $(if $(REFERENCE),--reference $(REFERENCE))

# Run the pages of websockets/ in Chromium on `framewire serve -w`, and compare with the results in
# tests/seeds/wpt.json; SUITE=FOLDER is a checkout of web-platform-tests, with handlers for Python 3.
# With REFERENCE=PYTHON, an interpreter that has pywebsocket3 4.0.2, also on pywebsocket3.
wpt: $(VENV)/.built-for-test
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[pywebsocket]'
	$(RUN) tests/seeds/wpt.py $(SUITE) $(if $(REFERENCE),--reference $(REFERENCE))

fuzz: fuzz-kernels fuzz-twins

# Run libFuzzer on each C kernel for TIME seconds.
fuzz-kernels: $(patsubst fuzz/kernels/%.c,build/fuzz/%,$(wildcard fuzz/kernels/*.c))
	for target in $(notdir $^); do mkdir -p build/fuzz/corpus/$$target; echo "$$target:"; \
		build/fuzz/$$target -max_total_time=$(TIME) -max_len=4096 -verbosity=0 -print_final_stats=1 \
		build/fuzz/corpus/$$target fuzz/seeds/$$target || exit 1; done

build/fuzz/%: fuzz/kernels/%.c $(KERNELS) $(wildcard cext/kernels/*.h)
	mkdir -p build/fuzz
	$(CLANG) -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -Icext/kernels $< $(KERNELS) -o $@

# Run each atheris fuzzer for TIME seconds; each compares both backends, with instrumented extensions.
TWINS := stream deflate functions utf8 handshake
SANITIZED := PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:malloc_context_size=1:quarantine_size_mb=4

fuzz-twins: build/fuzz/.built
	for target in $(TWINS); do mkdir -p build/fuzz/corpus/py-$$target; echo "$$target:"; \
		env PYTHONPATH=build/fuzz/lib $(SANITIZED) \
		LD_PRELOAD=$$($(RUN) -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so \
		$(RUN) fuzz/$$target.py -max_total_time=$(TIME) -max_len=1000 -verbosity=0 -print_final_stats=1 \
		build/fuzz/corpus/py-$$target fuzz/seeds/$$target || exit 1; done

$(VENV)/.fuzz-tools: $(VENV)/.built-for-test
	$(RUN) -m pip install --quiet --disable-pip-version-check 'atheris>=2.3' 'Cython>=3.3,<3.4' 'setuptools>=77'
	touch $@

build/fuzz/.built: $(VENV)/.fuzz-tools $(SOURCES) $(shell find src -name '*.py')
	CC=$(CLANG) LDSHARED='$(CLANG) -shared' CFLAGS='-g -O1 -fsanitize=address,fuzzer-no-link' \
		LDFLAGS='-fsanitize=address,fuzzer-no-link' FRAMEWIRE_EXTENSIONS=1 \
		$(RUN) setup.py --quiet build --build-base build/fuzz/temp --build-lib build/fuzz/lib --force
	touch $@

# Run the tests of the code without I/O on mutants of it, an hour for all of them on 2 cores; MUTANTS
# are beginnings of names, such as "session/ http/uri.py", and SINCE is a revision: only lines that
# have changed since then. With EQUIVALENT=1 those run that change no behaviour, and no others. Then
# the same for the C kernels; FILES are some of them.
MUTANTS ?=
SINCE ?=
EQUIVALENT ?=
FILES ?=

mutants: $(VENV)/.built-for-test
	$(RUN) tests/mutants/run.py $(if $(SINCE),--since $(SINCE)) $(if $(EQUIVALENT),--equivalent) $(MUTANTS)

mutants-kernels:
	$(PYTHON) tests/mutants/kernels.py $(FILES)

# Run the tests that call compiled code directly under AddressSanitizer and
# UndefinedBehaviorSanitizer.
ASAN_TESTS ?= tests/engine tests/hostile

asan: build/asan/.built
	env PYTHONPATH=build/asan/lib PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
		$(RUN) -m pytest -p no:cacheprovider $(ASAN_TESTS)

build/asan/.built: $(VENV)/.built-for-test $(SOURCES) $(shell find src -name '*.py')
	$(RUN) -m pip install --quiet --disable-pip-version-check 'setuptools>=77' 'Cython>=3.3,<3.4'
	CFLAGS='-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined' \
		LDFLAGS='-fsanitize=address,undefined' FRAMEWIRE_EXTENSIONS=1 \
		$(RUN) setup.py --quiet build --build-base build/asan/temp --build-lib build/asan/lib --force
	touch $@

# Run memcheck on both twins. Fail only for the errors of our extensions, not for those of the interpreter.
valgrind: $(VENV)/.built-for-test
	PYTHONPATH=src PYTHONMALLOC=malloc valgrind -q --leak-check=no --xml=yes --xml-file=build/valgrind.xml \
		$(RUN) fuzz/replay.py
	$(RUN) fuzz/memcheck.py build/valgrind.xml

# Count the objects and bytes that are left after connections that closed in order, failed, or were
# dropped.
CONNECTIONS ?= 100000

leaks: $(VENV)/.built-for-test
	PYTHONPATH=src:tests/support $(RUN) tests/hostile/leaks.py $(CONNECTIONS)

# Run SCHEDULES simulated schedules of each kind, or of KINDS, from the seed FIRST on, on all cores and
# on each of BACKENDS; `python -m tests.simulation --kind KIND --seed N` runs one of them again and
# makes it smaller if it fails. With STATE a campaign keeps its progress in the files STATE.fast and
# STATE.pure, and goes on if it was stopped, or if SCHEDULES are more than they were.
SCHEDULES ?= 1000
KINDS ?=
FIRST ?= 0
STATE ?=
comma := ,

simulate: $(VENV)/.built-for-test
	for backend in $(subst $(comma), ,$(BACKENDS)); do PYTHONPATH=src FRAMEWIRE_BACKEND=$$backend \
		$(RUN) -m tests.simulation --schedules $(SCHEDULES) --first $(FIRST) $(addprefix --kind ,$(KINDS)) \
		$(if $(STATE),--state $(STATE).$$backend) || exit 1; done

# Exchange messages with other programs through a relay that cuts, delays and half-closes: ROUNDS
# seeds of each case. Node's ws is in tests/node, Bun and Deno are installed here; PEERS are some of
# the programs, such as "websockets,aiohttp,ws,bun,deno,chromium".
ROUNDS ?= 1
PEERS ?=

interop: $(VENV)/.built-for-test
	npm install --silent --no-audit --no-fund --no-package-lock --prefix tests/node
	npm install --silent --no-audit --no-fund --no-package-lock --prefix build/interop bun deno
	PYTHONPATH=src:tests/support $(RUN) -m tests.interop --rounds $(ROUNDS) $(if $(PEERS),--peers $(PEERS))

# Prove the lemmas on headers for all arguments with CrossHair; each line must say "Confirmed".
symbolic: build/symbolic/.installed
	cd tests/symbolic && PYTHONPATH=$(CURDIR)/src FRAMEWIRE_BACKEND=pure $(CURDIR)/build/symbolic/bin/crosshair check \
		--analysis_kind=asserts --report_all --per_condition_timeout=120 lemmas.py | tee $(CURDIR)/build/symbolic/report
	test "$$(grep -c 'Confirmed over all paths' build/symbolic/report)" = "$$(grep -c -- '-> None:' tests/symbolic/lemmas.py)"

build/symbolic/.installed:
	$(PYTHON) -m venv build/symbolic
	build/symbolic/bin/pip install --quiet --disable-pip-version-check crosshair-tool
	touch $@

# Test the engine, asyncio connections and threaded connections on FREE_THREADED, a CPython that was
# configured with --disable-gil.
FREE_THREADED ?= python3.13t
FREE := build/free-threaded
FREE_TESTS ?= tests/engine tests/http tests/session tests/sync tests/asyncio/test_asyncio.py \
	tests/asyncio/test_threads.py tests/asyncio/test_topics_asyncio.py tests/hostile/test_d_text.py \
	tests/hostile/test_g_native.py

free-threaded: $(FREE)/.built
	PYTHONPATH=$(FREE)/plain FRAMEWIRE_EXTENSIONS=1 $(FREE)/bin/python -m pytest -p no:cacheprovider $(FREE_TESTS)

# Run threads on one stream under ThreadSanitizer. Fail only for reports of accesses by a function of an
# extension: it does not know how the interpreter synchronises its own data, such as memory that is
# reused for another thread. Tests with event loops are left out: there, frames are copied into such
# memory.
tsan: $(FREE)/.built
	rm -f $(FREE)/tsan.log*
	PYTHONPATH=$(FREE)/tsan TSAN_OPTIONS=exitcode=0:log_path=$(CURDIR)/$(FREE)/tsan.log \
		LD_PRELOAD=$$(gcc -print-file-name=libtsan.so) setarch -R \
		$(FREE)/bin/python -m pytest -p no:cacheprovider tests/hostile/test_g_native.py -k g5
	! grep -s 'SUMMARY.* in \(__pyx\|framewire\)' $(FREE)/tsan.log*

$(FREE)/.built: $(SOURCES) $(shell find src -name '*.py')
	test -x $(FREE)/bin/python || $(FREE_THREADED) -m venv $(FREE)
	$(FREE)/bin/python -m pip install --quiet --disable-pip-version-check 'Cython>=3.3,<3.4' 'setuptools>=77' h11 pytest trio \
		'hypothesis<6.156' uvicorn websockets # later versions of hypothesis are not plain Python
	FRAMEWIRE_EXTENSIONS=1 $(FREE)/bin/python setup.py --quiet build --build-base $(FREE)/temp \
		--build-lib $(FREE)/plain --force
	CFLAGS='-g -O1 -fsanitize=thread' LDFLAGS='-fsanitize=thread' FRAMEWIRE_EXTENSIONS=1 \
		$(FREE)/bin/python setup.py --quiet build --build-base $(FREE)/temp --build-lib $(FREE)/tsan --force
	touch $@

# Test the kernels on emulated processors: 64-bit with NEON, big endian, 32-bit and RISC-V. It takes
# minutes, since every offset of every length is tested. Then check that an instruction set which the
# processor lacks is refused and never executed.
QEMU := aarch64:aarch64-linux-gnu s390x:s390x-linux-gnu i386:i686-linux-gnu arm:arm-linux-gnueabihf \
	riscv64:riscv64-linux-gnu

qemu:
	mkdir -p build/qemu
	for each in $(QEMU); do machine=$${each%%:*}; $${each#*:}-gcc -std=gnu11 -O2 -static \
		-Icext/kernels tests/engine/test_kernels.c $(KERNELS) -o build/qemu/$$machine || exit 1; \
		echo "$$machine: $$(qemu-$$machine-static build/qemu/$$machine tables)"; \
		qemu-$$machine-static build/qemu/$$machine || exit 1; done
	FRAMEWIRE_SIMD=avx2 qemu-x86_64-static -cpu Nehalem $(RUN) -c 'import framewire' 2>&1 | \
		grep "ImportError: FRAMEWIRE_SIMD: this processor has no 'avx2'"

# Test both twins on an emulated CPython for each of MACHINES, or for all; ten minutes each.
MACHINES ?=

qemu-twins: $(VENV)/.built-for-test
	$(RUN) packaging/foreign.py $(MACHINES)

# Test the pure engine on CPython 3.14 as WebAssembly in node: 32 bits, no threads, no processes. Then
# run the browser scenarios with framewire.websocket there, in a page in Chromium and in node.
WASM_TESTS := tests/engine tests/http

wasm: $(VENV)/.built-for-test
	npm install --silent --ignore-scripts --no-audit --no-fund --no-package-lock --prefix build/wasm pyodide@314
	rm -rf build/wasm/site
	$(RUN) -m pip install --quiet --disable-pip-version-check --target build/wasm/site --no-deps --only-binary :all: \
		--platform any --python-version 3.14 pytest pluggy iniconfig packaging pygments h11 attrs sortedcontainers \
		'hypothesis<6.156' websockets # later versions of hypothesis are not plain Python
	node packaging/wasm.mjs build/wasm/node_modules build/wasm/site -m engine $(WASM_TESTS)
	PYTHONPATH=src:tests/support $(RUN) tests/wasm/run.py build/wasm/node_modules

# Test the pure engine on PYPY, an interpreter of Python 3.11.
PYPY ?= pypy3

pypy:
	$(PYPY) -m venv build/pypy
	build/pypy/bin/pip install --quiet --disable-pip-version-check h11 pytest 'hypothesis<6.156' websockets
	PYTHONPATH=src:tests/support build/pypy/bin/python -m pytest -p no:cacheprovider -m engine $(WASM_TESTS)
