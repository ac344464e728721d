fetch:
	@tools/fetch clickhouse kafka
.PHONY: fetch
