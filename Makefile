# What a person types. Nothing is fetched or built twice; `tools/need` says in one line what is missing and how to get it.
#
# Cold, on 2 cores: the fetch takes 25–60 s (220 MB travel, 620 MB of disk), the dependencies about 5 minutes.
# While the tests run: one shared broker (300 MB, ready in 1–2 s) and one shared ClickHouse (250 MB, ready in 0.3 s), and
# for tests that kill servers their own beside them. Cargo runs at most one test per core at a time; 4 GB are enough for two.

CARGO = cargo
BUILD_TOOLS = cargo cc c++ make perl

help:
	@echo "make demo    the whole product without servers"
	@echo "make test    every test, on real Kafka and real ClickHouse"
	@echo "make fetch   only what both need, into .deps"
	@echo "make torture faults drawn by seed for TIME=10m, or until one is not survived"
	@echo "make faults  every fault once; writes the table in docs/guarantees.md"
	@echo "make bench   how fast, beside what it is compared with: docs/speed.md"
	@echo "make lint    format and clippy"
	@echo "make sanitize the calls into C under AddressSanitizer"

demo:
	@tools/need $(BUILD_TOOLS) npm
	@tools/fetch clickhouse
	$(CARGO) build --release --locked
	@FAREBOX_EMBEDDED__LIBRARY="$(CURDIR)/.deps/clickhouse/libchdb.so" $(CARGO) run --release --locked --quiet -- demo

# One profile for all of it, so that every dependency is built once and the tests run the binary that is shipped.
# First the pure part alone: it must build without anything that touches the world.
test:
	@tools/need $(BUILD_TOOLS) java mvn npm python3 setpriv
	@tools/fetch clickhouse kafka smtp prometheus
	$(CARGO) fmt --check
	$(CARGO) test --release --locked --lib --no-default-features
	$(CARGO) test --release --locked

lint:
	@tools/need $(BUILD_TOOLS)
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

# Seeds are drawn anew in each round; the first failure ends it and names its seed. TIME=0 goes on until Ctrl-C.
TIME = 10m
torture:
	@tools/need $(BUILD_TOOLS) java mvn npm setpriv
	@tools/fetch clickhouse kafka
	@CARGO="$(CARGO)" tools/torture $(TIME)

# Each test says what it measured, in a line of its own; the table is made of them.
faults:
	@tools/need $(BUILD_TOOLS) java mvn npm setpriv awk
	@tools/fetch clickhouse kafka
	@rm -f target/outcomes.jsonl
	FAULT_OUTCOMES="$(CURDIR)/target/outcomes.jsonl" $(CARGO) test --release --locked --test faults
	@tools/outcomes target/outcomes.jsonl docs/guarantees.md

# Everything together, beside a consumer that does nothing and ClickHouse's own Kafka engine, in one run; writes docs/speed.md with WRITE=1.
# EVENTS=10000000 PARTITIONS=6 ACCOUNTS=1000 USERS=1000 ONLY=a,b,c,d,scraper,e,latency (with RATE=140000 without d); with GROWTH=1 how it grows instead.
bench:
	@tools/need $(BUILD_TOOLS) java mvn npm python3 setpriv
	@tools/fetch clickhouse kafka smtp
	$(CARGO) bench --locked --bench drain

# What the views take to answer with 100 million events behind them; writes docs/speed.md with WRITE=1.
bench-reads:
	@tools/need $(BUILD_TOOLS) npm
	@tools/fetch clickhouse
	$(CARGO) bench --locked --bench reads

# Instructions, time and allocations of each part of the hot path, without servers: docs/speed-parts.md.
bench-parts:
	@tools/need $(BUILD_TOOLS)
	@CARGO="$(CARGO)" tools/bench-parts docs/speed-parts.md

# The calls into librdkafka and libc under AddressSanitizer, against a real broker: needs a nightly compiler, which rustup brings.
sanitize:
	@tools/need $(BUILD_TOOLS) java mvn npm setpriv rustup
	@tools/fetch clickhouse kafka
	RUSTC_WRAPPER="$(CURDIR)/tools/rustc-address" ASAN_OPTIONS=detect_leaks=0 rustup run nightly cargo test --locked --target $(shell rustc -vV | sed -n 's/^host: //p') --test it -- source::

fetch:
	@tools/need java mvn npm python3
	@tools/fetch clickhouse kafka smtp prometheus

.PHONY: help demo test lint fetch sanitize torture faults bench bench-reads bench-parts
