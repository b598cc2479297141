# onefed: the commands of this repository. `make` alone lists them.

# The Flower release that the demo runs, and whether it leaves everything running: make demo FLOWER=1.31.0 KEEP=1
FLOWER ?= 1.41.0
KEEP ?=
# All tests of all crates, and those that run beside the others: they wait most of their time.
TESTS = $(basename $(notdir $(wildcard crates/*/tests/*.rs))) $(notdir $(patsubst %/main.rs,%,$(wildcard crates/*/tests/*/main.rs)))
APART = real_flower by_hand link_drills bridge_auth
# How many seconds each target is fuzzed: make fuzz FOR=600
FOR ?= 60

.PHONY: help demo test drills fuzz contract check bench fmt

help:
	@echo "make demo    three zones on this machine train a real Flower app (FLOWER=1.31.0, KEEP=1)"
	@echo "make test    every test that can run here, real Flower included"
	@echo "make drills  the slow ones: failures at random, 10 000 worlds of the link, all releases, the link under kills"
	@echo "make fuzz    all that reads bytes of somebody else, with cargo-fuzz and a nightly compiler (FOR=600: seconds each)"
	@echo "make contract ONE_XMLRPC=… ONEFLOW_URL=… ONEGATE_ENDPOINT=… ONE_AUTH=file"
	@echo "             does a real zone answer as the sandbox does? (makes and removes objects onefed-contract-…)"
	@echo "make check   format, lints, documentation, drift of checked-in outputs"
	@echo "make bench   measurements, with medians and spread"
	@echo "make fmt     format the code"

demo:
	@echo "== building onefed (the first time takes some minutes)"
	cargo build --release --locked -p onefed
	./target/release/onefed demo --flower $(FLOWER) $(if $(KEEP),--keep)

test:
	@echo "== building the tests"
	cargo test --workspace --locked --no-run --quiet
	@echo "== tests (the ones with real Flower make their Python environments below .flower/ first)"
	@echo "   $(APART): beside the others, in target/tests-apart.log"
	@cargo test --workspace --locked --no-fail-fast $(addprefix --test ,$(APART)) > target/tests-apart.log 2>&1 & apart=$$!; \
		cargo test --workspace --locked --no-fail-fast --lib --bins $(addprefix --test ,$(filter-out $(APART),$(TESTS))); here=$$?; \
		cargo test --workspace --locked --no-fail-fast --doc; docs=$$?; \
		echo "== waiting for those beside"; wait $$apart; beside=$$?; \
		cat target/tests-apart.log; \
		test $$here -eq 0 -a $$docs -eq 0 -a $$beside -eq 0
	@echo "== make test: all tests passed"

drills:
	@echo "== drills: calls to zones that fail at random, applies that are killed, locks that are contested"
	ONEFED_CASES=100 cargo test --locked -p onefed --test converge --test apply_killed --test lock -- --include-ignored
	@echo "== drills: ten thousand simulated worlds of the link"
	ONEFED_SEEDS=10000 cargo test --locked --release -p onefed-link --test world
	@echo "== drills: SuperNodes of all releases under a SuperLink of each"
	ONEFED_CASES=4 cargo test --locked -p onefed --test bridge
	@echo "== drills: the link under kills, silence and half-open connections, in the middle of 100 MB; plain Flower beside it"
	ONEFED_DRILLS=1 cargo test --locked -p onefed --test link_drills -- --nocapture
	@echo "== make drills: all of them passed"

# What is found goes to fuzz/target/found, and a crash to fuzz/artifacts: the corpus takes only what somebody chose.
fuzz:
	@cargo fuzz --version > /dev/null 2>&1 || { echo "make fuzz needs cargo-fuzz: cargo install --locked cargo-fuzz" >&2; exit 1; }
	@cargo +nightly --version > /dev/null 2>&1 || { echo "make fuzz needs a nightly compiler: rustup toolchain install nightly" >&2; exit 1; }
	@cd fuzz && for target in $$(cargo fuzz list); do \
		echo "== fuzz: $$target for $(FOR) s"; \
		mkdir -p target/found/$$target; \
		cargo +nightly fuzz run $$target target/found/$$target corpus/$$target -- \
			-max_total_time=$(FOR) -timeout=10 -print_final_stats=1 || exit 1; \
	done
	@echo "== make fuzz: no target failed"

# make contract ONE_XMLRPC=… ONEFLOW_URL=… ONEGATE_ENDPOINT=… ONE_AUTH=… ONE_CA=…: variables of the command line reach cargo.
contract:
	@echo "== the cases of the contract suite against $(if $(ONE_XMLRPC),$(ONE_XMLRPC),a zone that is not named: set ONE_XMLRPC, ONEFLOW_URL, ONEGATE_ENDPOINT and ONE_AUTH)"
	@test -n "$(ONE_XMLRPC)" -a -n "$(ONEFLOW_URL)"
	ONEFED_CONTRACT=1 cargo test --locked -p onefed-sandbox --test contract -- --nocapture a_real_zone

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
	cargo bench --locked -p onefed --bench boot --bench apply --bench link

fmt:
	cargo fmt --all
