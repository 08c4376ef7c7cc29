# Every target installs what it lacks (Debian packages), configures, builds, and does what its line says.
# The build itself is CMake's: see CMakePresets.json. Everything built lies under build/<preset>/.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

JOBS ?= $(shell nproc)
WERROR ?= OFF
# Options of single targets, given as `make crash SEED=91`.
SEED ?=
MINUTES ?=
SECONDS_EACH ?=
BENCH_ARGS ?=
COMPARE_ARGS ?=
FILTER ?= .

PACKAGES := g++ cmake ninja-build libfmt-dev libspdlog-dev nlohmann-json3-dev libgtest-dev libbenchmark-dev \
            libcli11-dev jq
ensure    = @tools/ensure-packages $(PACKAGES) $(1)
configure = @cmake --preset $(1) -DKVSTORE_WERROR=$(WERROR) --log-level=WARNING >build/$(1).configure.log 2>&1 \
            || { cat build/$(1).configure.log; exit 1; }
build     = @cmake --build --preset $(1) --parallel $(JOBS) $(if $(2),--target $(2))
sources   = git ls-files '*.cc' '*.h'

.PHONY: help
help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 17

.PHONY: build
build: | build/ ## build everything, optimised, into build/release/
	$(call ensure)
	$(call configure,release)
	$(call build,release)

.PHONY: run
run: | build/ ## show what it does: import real data, query, kill -9 a writer, recover, verify
	$(call ensure)
	$(call configure,release)
	$(call build,release,kvctl demo)
	@tools/demo/run build/release/bin

.PHONY: test
test: build ## build everything and run all tests; FILTER=name runs some
	@ctest --preset release --parallel $(JOBS) --tests-regex '$(FILTER)'

.PHONY: bench
bench: build ## run all benchmarks, some minutes; build/bench/ gets their figures; BENCH_ARGS=--benchmark_filter=... runs some
	$(call ensure,python3)
	@mkdir -p build/bench && rm -f build/bench/*
	@for program in build/release/bench/*_bench; do [ -x $$program ] || continue; \
	  name=$${program##*/}; echo "== $$name"; \
	  $$program --benchmark_out=build/bench/$$name.json --benchmark_out_format=json $(BENCH_ARGS) \
	    >build/bench/$$name.txt || { cat build/bench/$$name.txt; exit 1; }; cat build/bench/$$name.txt; done
	@bench/table.py build/bench/*.json >build/bench/table.md

# Redis is started by the comparison itself, on a socket of its own; the service that comes with the package is not used.
PEERS := libleveldb-dev librocksdb-dev liblmdb-dev libsqlite3-dev libtkrzw-dev libkyotocabinet-dev libwiredtiger-dev \
         redis-server python3

.PHONY: bench-compare
bench-compare: | build/ ## compare with other stores, a quarter of an hour; COMPARE_ARGS='--quick' or '--full' or '--filter=...'
	$(call ensure,$(PEERS))
	$(call configure,compare)
	$(call build,compare,compare)
	@build/compare/bench/compare/compare --out build/compare/results.jsonl $(COMPARE_ARGS); ended=$$?; \
	  bench/compare/report.py build/compare/results.jsonl --markdown build/compare/results.md \
	    --plots build/compare/plots && exit $$ended

# entries:bytes of a value. 50 million entries need 20 GB of memory and disk, so they are asked for: GROWTH=50000000:100.
GROWTH ?= 10000:100 100000:100 1000000:100 10000000:100 \
          1000000:8 1000000:1000 50000:10000 5000:100000 500:1048576

.PHONY: bench-growth
bench-growth: | build/ ## how kvstore's costs grow with the number and size of entries, some minutes
	$(call ensure,python3)
	$(call configure,compare)
	$(call build,compare,compare)
	@rm -f build/compare/growth-*.jsonl
	@for size in $(GROWTH); do \
	  build/compare/bench/compare/compare --filter '^fill/kvstore$$' --rounds 3 --entries $${size%:*} \
	    --value-bytes $${size#*:} --out build/compare/growth-$$size.jsonl >/dev/null || exit 1; done
	@bench/compare/report.py --growth build/compare/growth-*.jsonl

.PHONY: asan
asan: | build/ ## all tests under the address and undefined-behaviour sanitizers
	$(call ensure)
	$(call configure,asan)
	$(call build,asan)
	@ctest --preset asan --parallel $(JOBS) --tests-regex '$(FILTER)'

# g++ 12's thread sanitizer maps its shadow at fixed addresses and dies at start ("unexpected memory mapping")
# where the kernel randomises more than 28 bits (sysctl vm.mmap_rnd_bits); setarch -R turns that off.
.PHONY: tsan
tsan: | build/ ## all tests under the thread sanitizer
	$(call ensure)
	$(call configure,tsan)
	$(call build,tsan)
	@$$(setarch -R true 2>/dev/null && echo setarch -R) ctest --preset tsan --parallel $(JOBS) --tests-regex '$(FILTER)'

.PHONY: crash
crash: | build/ ## crash stores, for real and on simulated disks, and damage their files, SECONDS_EACH=60; SEED=n replays one
	$(call ensure)
	$(call configure,release)
	$(call build,release,crash_explorer rot_explorer crash_runner)
	@cd build/release/tests && for program in crash_explorer rot_explorer crash_runner; do echo "== $$program"; \
	  ./$$program --seconds $(or $(SECONDS_EACH),60) $(if $(SEED),--seed $(SEED)) || exit 1; done

.PHONY: mutants
mutants: | build/ ## break kvstore on purpose in over a hundred ways, half an hour: a test must notice each; FILTER=name does some
	$(call ensure,python3)
	@tests/mutants/run.py '$(FILTER)'

.PHONY: soak
soak: | build/ ## overwrite the same keys for MINUTES=n, or 100M times: disk and memory must stay bounded
	$(call ensure)
	$(call configure,release)
	$(call build,release,soak)
	@build/release/tests/soak $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: stress
stress: | build/ ## all features at once on many threads, under the thread sanitizer, MINUTES=1; SEED=n repeats one
	$(call ensure)
	$(call configure,tsan)
	$(call build,tsan,stress)
	@TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 $$(setarch -R true 2>/dev/null && echo setarch -R) \
	  build/tsan/tests/stress --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: | build/ ## run every fuzzer for SECONDS_EACH=30 seconds; findings go to build/fuzz/
	$(call ensure,clang libclang-rt-14-dev)
	$(call configure,fuzz)
	$(call build,fuzz,$(basename $(notdir $(wildcard tests/fuzz/*_fuzz.cc))))
	@cd build/fuzz && for program in tests/*_fuzz; do [ -x $$program ] || continue; \
	  name=$${program##*/}; name=$${name%_fuzz}; echo "== $$name"; mkdir -p corpus/$$name; \
	  $$program -max_total_time=$(or $(SECONDS_EACH),30) -print_final_stats=1 corpus/$$name \
	    "$(CURDIR)/tests/fuzz/corpus/$$name" || exit 1; done

.PHONY: tidy
tidy: | build/ ## clang-tidy over every source file; FILTER=path checks some
	$(call ensure,clang-tidy)
	$(call configure,tidy)
	@run-clang-tidy -quiet -j $(JOBS) -p build/tidy '$(CURDIR)/(?=.*$(FILTER))(kvstore|tools|tests|bench)/' 2>/dev/null

.PHONY: coverage
coverage: | build/ ## which lines of kvstore/ the tests run, and each that they do not; fails under 95 %
	$(call ensure,python3)
	$(call configure,coverage)
	$(call build,coverage)
	@find build/coverage -name '*.gcda' -delete
	@ctest --preset coverage --parallel $(JOBS) --output-log build/coverage.log >/dev/null || { cat build/coverage.log; exit 1; }
	@tools/coverage/report.py build/coverage --at-least 95

.PHONY: format
format: ## bring every source file into the common layout
	$(call ensure,clang-format)
	@$(sources) | xargs clang-format -i

.PHONY: golden
golden: build ## rewrite the expected outcomes of tests and the golden logs; review the diff like code
	$(call ensure,python3)
	@data/golden/make_golden.py
	@KVSTORE_REWRITE_GOLDEN=1 ctest --preset release --parallel $(JOBS) --tests-regex '$(FILTER)'

.PHONY: consumer
consumer: build deb ## build small programs against an installed and an embedded kvstore, as users do
	$(call ensure,pkg-config)
	@tests/consumer/run

.PHONY: install
install: | build/ ## build and install below PREFIX=/usr/local (DESTDIR is honoured)
	$(call ensure)
	$(call configure,release)
	$(call build,release)
	@cmake --install build/release --prefix $(or $(PREFIX),/usr/local)

.PHONY: deb
deb: | build/ ## a Debian package with kvctl, the library and its headers, in build/deb/
	$(call ensure,dpkg-dev file)
	$(call configure,deb)
	$(call build,deb)
	@rm -f build/deb/*.deb
	@cd build/deb && cpack --config CPackConfig.cmake >cpack.log || { cat cpack.log; exit 1; }
	@ls -1 build/deb/*.deb

.PHONY: clean
clean: ## delete everything that was built
	@rm -rf build

build/:
	@mkdir -p build
