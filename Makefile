# onefed: the commands of this repository. `make` alone lists them.

# The Flower release that the demo runs, and whether it leaves everything running: make demo FLOWER=1.31.0 KEEP=1
FLOWER ?= 1.41.0
KEEP ?=

.PHONY: help demo test check bench fmt

help:
	@echo "make demo    three zones on this machine train a real Flower app (FLOWER=1.31.0, KEEP=1)"
	@echo "make test    every test that can run here, real Flower included"
	@echo "make check   format, lints, documentation, drift of checked-in outputs"
	@echo "make bench   measurements, with medians and spread"
	@echo "make fmt     format the code"

demo:
	@echo "== building onefed (the first time takes some minutes)"
	cargo build --release --locked -p onefed
	./target/release/onefed demo --flower $(FLOWER) $(if $(KEEP),--keep)

test:
	@echo "== tests (the ones with real Flower make their Python environments below .flower/ first)"
	cargo test --workspace --locked --no-fail-fast
	@echo "== make test: all tests passed"

check:
	@echo "== format"
	cargo fmt --all --check
	@echo "== lints"
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@echo "== documentation"
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	@echo "== drift: Cargo.lock fits, no snapshot is pending"
	cargo metadata --locked --format-version 1 --no-deps > /dev/null
	@test -z "$$(find crates -name '*.snap.new' -o -name '*.pending-snap')"
	@echo "== make check: all is well"

bench:
	@echo "== benchmarks (release build)"
	cargo bench --locked -p onefed --bench boot --bench apply

fmt:
	cargo fmt --all
