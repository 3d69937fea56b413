# What one does with novanet: try it, test it, measure it, install it. Each target gets what it needs first (scripts/deps) and is quick where that is there.

# The demo's binary is built as the tests build it, so that neither waits for what the other has compiled. `make demo PROFILE=release` for the real one.
PROFILE ?= dev
TARGET  := $(or $(CARGO_TARGET_DIR),target)
BINARY   = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/novanet
RELEASE := $(TARGET)/release/novanet

# Where rustup puts cargo, for a root whose PATH does not know it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

PREFIX ?= /usr/local
BIN    := $(DESTDIR)$(PREFIX)/bin
UNITS  := $(DESTDIR)$(PREFIX)/lib/systemd/system
INIT   := $(DESTDIR)/etc/init.d
DATA   := $(DESTDIR)$(PREFIX)/share
MAN    := $(DATA)/man/man1
BASH   := $(DATA)/bash-completion/completions
ZSH    := $(DATA)/zsh/site-functions
FISH   := $(DATA)/fish/vendor_completions.d
DOC    := $(DATA)/doc/novanet

# The old names; the binary knows by which it was called.
APPLETS := nova-manage nova-api nova-network nova-compute nova-dhcpbridge
# The old host's services: `service nova-network restart` restarts the one that does their work.
SERVICES := nova-network nova-compute nova-api
EUCA  := $(addprefix euca-, \
	run-instances describe-instances reboot-instances start-instances stop-instances terminate-instances get-console-output describe-images \
	add-keypair create-keypair import-keypair describe-keypairs delete-keypair \
	add-group create-group describe-groups describe-group delete-group authorize revoke \
	allocate-address associate-address disassociate-address release-address deallocate-address describe-addresses \
	describe-availability-zones describe-regions)

.PHONY: build demo test test-fast manual check deny doc bench install uninstall clean
.DEFAULT_GOAL := build

# The whole binary, optimised.
build:
	scripts/deps build
	cargo build --release -p novanet-cli

# A real one-host cloud in a sandbox: the main job, then the other modes of a network. KEEP=1 leaves it running and says how to
# enter it. VLAN=1 shows VLAN networks only, in a virtual machine where this kernel has no 802.1Q.
demo:
	scripts/deps $(if $(VLAN),test,demo)
	cargo build --profile $(PROFILE) -p novanet-cli
	venv=$$(scripts/venv) && NOVANET_VENV=$$venv $(BINARY) demo $(if $(KEEP),--keep) $(if $(VLAN),--vlan)

# Everything that must hold. Needs root: the tests make network namespaces (and leave none).
test: check
	scripts/deps test
	scripts/machine-state >$(TARGET)/machine.before
	venv=$$(scripts/venv) && export NOVANET_VENV=$$venv && \
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace; else cargo test --workspace; fi
	scripts/machine-state >$(TARGET)/machine.after
	diff $(TARGET)/machine.before $(TARGET)/machine.after && echo "the machine's own network is as it was"

# Tests that need neither root nor another program: rules, protocol, keys, reconciling, SQLite.
FAST_CRATES := $(filter $(notdir $(wildcard crates/*)),model ec2 pki reconcile store)
FAST        := $(addprefix -p novanet-,$(FAST_CRATES))
test-fast:
	scripts/deps build
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run $(FAST) -E 'not test(/postgres|botocore/)'; \
	else cargo test $(FAST) -- --skip postgres --skip botocore; fi

# The pages of docs/manual: each command is run in a lab and its output compared with the page.
manual:
	scripts/deps test
	venv=$$(scripts/venv) && export NOVANET_VENV=$$venv && \
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run -p novanet-cli manual; \
	else cargo test -p novanet-cli manual; fi

# Form and lints, without running anything.
check: deny
	scripts/deps build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# Licences, sources and arrows by cargo-deny, where it is installed; the tests hold licences and
# arrows in any case. Advisories are fetched from the network: make deny CHECKS=advisories.
CHECKS ?= licenses bans sources
deny:
	if cargo deny --version >/dev/null 2>&1; then cargo deny check $(CHECKS); \
	else echo "cargo-deny is not installed: advisories are not checked"; fi

# The documentation of our own crates, private items too: target/doc.
doc:
	cargo doc --workspace --no-deps --document-private-items

# The figures: a table here, and the same in target/bench.json. AGAINST=OTHER_BINARY compares the
# whole-system figures with another build, alternately in the same run.
bench:
	scripts/deps test
	cargo build --release -p novanet-cli -p novanet-bench
	$(RELEASE)-bench --json $(TARGET)/bench.json $(if $(AGAINST),--against $(AGAINST))

install: build
	install -D -m 755 $(RELEASE) $(BIN)/novanet
	for name in $(APPLETS) $(EUCA); do ln -sfn novanet $(BIN)/$$name; done
	install -d $(UNITS)
	sed 's#/usr/local/bin#$(PREFIX)/bin#' contrib/novanet.service >$(UNITS)/novanet.service
	for name in $(SERVICES); do ln -sfn novanet.service $(UNITS)/$$name.service; done
	install -d $(INIT)
	sed 's#/usr/local/bin#$(PREFIX)/bin#' contrib/novanet.init >$(INIT)/novanet && chmod 755 $(INIT)/novanet
	for name in $(SERVICES); do ln -sfn novanet $(INIT)/$$name; done
	install -d $(MAN) $(BASH) $(ZSH) $(FISH)
	$(RELEASE) man $(MAN)
	$(RELEASE) completion bash $(BASH)
	$(RELEASE) completion zsh $(ZSH)
	$(RELEASE) completion fish $(FISH)
	install -D -m 644 contrib/nova.conf.sample $(DOC)/nova.conf.sample

# The names of the man pages are what the installed binary says.
COMPLETED := novanet nova-manage $(EUCA)
uninstall:
	if [ -x $(BIN)/novanet ]; then for page in $$($(BIN)/novanet man); do rm -f $(MAN)/$$page; done; fi
	rm -f $(addprefix $(BASH)/,$(addsuffix .bash,$(COMPLETED))) $(addprefix $(ZSH)/_,$(COMPLETED)) \
	  $(addprefix $(FISH)/,$(addsuffix .fish,$(COMPLETED))) $(DOC)/nova.conf.sample
	rm -f $(addprefix $(BIN)/,novanet $(APPLETS) $(EUCA)) \
	  $(addsuffix .service,$(addprefix $(UNITS)/,novanet $(SERVICES))) $(addprefix $(INIT)/,novanet $(SERVICES))

clean:
	cargo clean
	rm -rf target/venv target/venv.lock
