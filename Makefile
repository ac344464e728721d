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
	@echo "make lint    format and clippy"

demo:
	@tools/need $(BUILD_TOOLS) npm
	@tools/fetch clickhouse
	$(CARGO) build --release --locked
	@FAREBOX_EMBEDDED__LIBRARY="$(CURDIR)/.deps/clickhouse/libchdb.so" $(CARGO) run --release --locked --quiet -- demo

# One profile for all of it, so that every dependency is built once and the tests run the binary that is shipped.
# First the pure part alone: it must build without anything that touches the world.
test:
	@tools/need $(BUILD_TOOLS) java mvn npm setpriv
	@tools/fetch clickhouse kafka
	$(CARGO) fmt --check
	$(CARGO) test --release --locked --lib --no-default-features
	$(CARGO) test --release --locked

lint:
	@tools/need $(BUILD_TOOLS)
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

fetch:
	@tools/need java mvn npm
	@tools/fetch clickhouse kafka

.PHONY: help demo test lint fetch
