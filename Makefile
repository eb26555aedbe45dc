# Every command of the project; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
BIN ?= target/release
PREFIX ?= /usr/local
DESTDIR ?=
TOOLS ?= $(HOME)/.cache/sealane/tools

.PHONY: help setup build install uninstall demo demo-down test test-deep check fmt clippy docs deny advisories mutants crds bench bench-quick clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

STAGE ?= test
setup: ## install the system packages that tests need, saying what and why (STAGE=demo or bench: fewer, STAGE=deep: more)
	@tests/scripts/setup.sh $(STAGE)

build: ## build all programs, optimised, into target/release
	$(CARGO) build --release --locked --workspace --bins

PROGRAMS := sealane sealane-agent sealane-tunnel sealane-broker
UNITS := $(notdir $(wildcard systemd/*.service systemd/*.path))
# Where systemd's other programs look, below PREFIX/lib; systemd/README.md says what each file is for.
RULES := sysusers.d/sealane.conf tmpfiles.d/sealane.conf
NETWORKD := networkd.conf.d/50-sealane.conf network/05-sealane.network
BINDIR = $(DESTDIR)$(PREFIX)/bin
LIBDIR = $(DESTDIR)$(PREFIX)/lib
UNITDIR = $(LIBDIR)/systemd/system
MANDIR = $(DESTDIR)$(PREFIX)/share/man/man1
BASHDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSHDIR = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
DOCDIR = $(DESTDIR)$(PREFIX)/share/doc/sealane
FISHDIR = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

install: ## put programs, units, manual and completions below PREFIX (/usr/local), make the user sealane; builds and starts nothing
	@for program in $(PROGRAMS); do \
	  [ -x $(BIN)/$$program ] || { echo "$(BIN)/$$program is not there: run make build first" >&2; exit 1; }; \
	done
	install -d $(BINDIR) $(UNITDIR) $(MANDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR)
	install -D -m 0644 agent/agent.toml.example $(DOCDIR)/agent.toml
	install -m 0755 $(PROGRAMS:%=$(BIN)/%) $(BINDIR)
	ln -sfn sealane $(BINDIR)/kubectl-sealane
	@for unit in $(UNITS); do \
	  sed 's|=/usr/bin/|=$(PREFIX)/bin/|' "systemd/$$unit" > "$(UNITDIR)/$$unit"; chmod 0644 "$(UNITDIR)/$$unit"; \
	done
	@for file in $(RULES); do install -D -m 0644 "systemd/$$file" "$(LIBDIR)/$$file"; done
	@for file in $(NETWORKD); do install -D -m 0644 "systemd/$$file" "$(LIBDIR)/systemd/$$file"; done
	$(BINDIR)/sealane man $(MANDIR)
	$(BINDIR)/sealane completions bash > $(BASHDIR)/sealane
	$(BINDIR)/sealane completions zsh > $(ZSHDIR)/_sealane
	$(BINDIR)/sealane completions fish > $(FISHDIR)/sealane.fish
	@chmod 0644 $(MANDIR)/sealane*.1 $(BASHDIR)/sealane $(ZSHDIR)/_sealane $(FISHDIR)/sealane.fish
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	  systemd-sysusers $(LIBDIR)/sysusers.d/sealane.conf; \
	  systemd-tmpfiles --create $(LIBDIR)/tmpfiles.d/sealane.conf; \
	  systemctl daemon-reload; \
	fi

uninstall: ## remove what `make install` put there; state and configuration stay
	@if [ -x $(BINDIR)/sealane ]; then \
	  pages=$$(mktemp -d); $(BINDIR)/sealane man $$pages; \
	  (cd $$pages && ls) | while read -r page; do rm -f $(MANDIR)/$$page; done; rm -r $$pages; \
	fi
	rm -f $(PROGRAMS:%=$(BINDIR)/%) $(BINDIR)/kubectl-sealane $(UNITS:%=$(UNITDIR)/%)
	rm -f $(RULES:%=$(LIBDIR)/%) $(NETWORKD:%=$(LIBDIR)/systemd/%)
	rm -f $(BASHDIR)/sealane $(ZSHDIR)/_sealane $(FISHDIR)/sealane.fish $(DOCDIR)/agent.toml

demo: STAGE = demo
demo: setup build ## two clusters and an edge host on this machine, joined and put to the test (KEEP=1 leaves them up)
	@SEALANE_BIN=$(CURDIR)/$(BIN) $(BIN)/demo $(if $(KEEP),--keep)

demo-down: ## remove what `make demo KEEP=1` left up
	@$(BIN)/demo --down

# Development builds: what overflows or contradicts itself in them ends a test.
test: setup ## everything: unit, golden, law, broker and lab tests
	$(CARGO) build --locked --workspace --bins --tests
	$(CARGO) test --locked --workspace --no-fail-fast

FUZZ_SECONDS ?= 60
test-deep: STAGE = deep
test-deep: test ## also what takes long, with optimised programs: a real API server, booted systemd, 1,000 simulated runs, every parser fuzzed for a minute (FUZZ_SECONDS=N)
	$(CARGO) build --release --locked --workspace --bins --test sim
	SEALANE_SIM_RUNS=1000 $(CARGO) test --release --locked --workspace --test sim
	SEALANE_BIN=$(CURDIR)/$(BIN) $(CARGO) test --locked --workspace --no-fail-fast --features sealane-tests/deep --test kubernetes --test systemd
	$(BIN)/fuzz --seconds $(FUZZ_SECONDS)

check: fmt clippy docs deny test ## what CI would say, and more

fmt: ## formatting
	$(CARGO) fmt --all --check

clippy: ## lints, warnings are errors
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

docs: ## documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

deny: $(TOOLS)/bin/cargo-deny ## licences, banned crates and sources of all dependencies
	PATH=$(TOOLS)/bin:$$PATH $(CARGO) deny --workspace check bans licenses sources

advisories: $(TOOLS)/bin/cargo-deny ## known vulnerabilities (fetches the RustSec database)
	PATH=$(TOOLS)/bin:$$PATH $(CARGO) deny --workspace check advisories

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install --locked --root $(TOOLS) cargo-deny

MUTANTS ?= sealane-probe sealane-state sealane-plan sealane-api
JOBS ?= 2
mutants: $(TOOLS)/bin/cargo-mutants ## which changes of trust, plan, diff and probe no test notices: hours (MUTANTS=package, JOBS=N); goes on where it stopped
	mkdir -p target
	PATH=$(TOOLS)/bin:$$PATH $(CARGO) mutants --no-config --profile mutants --iterate --jobs $(JOBS) --output target $(MUTANTS:%=--package %)

$(TOOLS)/bin/cargo-mutants:
	$(CARGO) install --locked --root $(TOOLS) cargo-mutants

crds: ## write the generated CRDs into charts/crds
	$(CARGO) run --locked -q -p sealane-api --bin crdgen -- charts/crds

bench bench-quick: STAGE = bench
bench: setup build ## how long plans take, what probing costs, what agent and tunnel hold of memory, what a tunnel costs against the bare link, and the tunnels of others beside ours (15 minutes)
	@SEALANE_BIN=$(CURDIR)/$(BIN) $(BIN)/bench

bench-quick: setup build ## our tunnel's ratios to those of others, one a line; five minutes
	@SEALANE_BIN=$(CURDIR)/$(BIN) $(BIN)/bench --seconds 3 contest

clean: ## remove what was built here
	$(CARGO) clean
