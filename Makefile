# `make` prints what there is. `make demo` and `make check` need nothing but a Rust toolchain: they install the rest.

RUST_MIN := 1.88
export PATH := $(PATH):$(HOME)/.cargo/bin
# cargo and the scripts' own make count their jobs themselves. `+` before their lines would pass -j on, but run them by
# `make -n` too.
unexport MAKEFLAGS MFLAGS

target := $(or $(CARGO_TARGET_DIR),target)
host := $(shell uname -m)-unknown-linux-gnu

DESTDIR ?=
prefix := /usr
INSTALL := install -D
# Debian's place; zsh itself looks into $(prefix)/share/zsh/site-functions.
zsh_completions := $(prefix)/share/zsh/vendor-completions

.DEFAULT_GOAL := help
.PHONY: help toolchain deps build guest-client check simulate simulate-broken fuzz mutants demo bench compatibility endurance soak man install install-compat fmt clean

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

toolchain:
	@command -v cargo >/dev/null || { \
	  echo 'cargo is not here. Install a Rust toolchain of at least version $(RUST_MIN), then run make again:'; \
	  echo '  everywhere:            https://rustup.rs'; \
	  echo '  Debian 13, Ubuntu 24:   apt install rustup && rustup default stable'; \
	  echo "(Debian 12's own cargo is too old.)"; \
	  exit 1; }
	@found=$$(rustc --version | cut -d' ' -f2); \
	lowest=$$(printf '%s\n' $(RUST_MIN) "$$found" | sort -V | head -n 1); \
	test "$$lowest" = $(RUST_MIN) || { \
	  echo "rustc $$found is too old, $(RUST_MIN) is needed: rustup update stable, or see https://rustup.rs"; exit 1; }

deps: ## install the Debian packages that are missing (as root)
	@packaging/install-build-deps

build: toolchain guest-client ## build the release programs, and the guest client without shared libraries
	cargo build --release --workspace

guest-client:
	RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' cargo build --release -p fence-vmchannel-guest-client \
	  --target $(host) --target-dir $(target)/guest

check: toolchain deps ## run every check and test, with real libvirt and QEMU (as root)
	@tests/check

simulate: toolchain ## play SEEDS (100000) simulated hosts with faults, from seed FROM (1); KIND is Anything, Dense or Mutual
	@SEEDS=$(or $(SEEDS),100000) FROM=$(FROM) KIND=$(KIND) cargo test --profile simulation -p fence-vmchannel-simulation -- \
	  --nocapture --test-threads=1 hundred_thousand

simulate-broken: toolchain ## break one rule after the other in a scratch copy, and see that the simulation finds each (half an hour)
	@tests/simulation/broken-rules

fuzz: toolchain deps ## fuzz every decoder, each for SECONDS (60); new inputs stay in the target directory
	@tests/fuzz/run $(or $(SECONDS),60)

mutants: toolchain deps ## change the deciding code in every way, one at a time, and see that a test fails (an hour)
	@tests/mutants

demo: toolchain deps ## two real guests, one fences the other (as root; KEEP=1 leaves them running)
	@tests/demo

bench: toolchain deps ## measure beside fence_virtd and direct libvirt calls (as root; FENCE_BENCH=quick, or some sections)
	@tests/bench

compatibility: toolchain deps ## try every client against every server, in every way, and write docs/compatibility.md (as root)
	@tests/compatibility

endurance: toolchain deps ## the long versions of the tests: hundreds of rounds (as root; ROUNDS=N, ONLY=PART)
	@tests/endurance

soak: toolchain deps ## everything at once for MINUTES (10), and nothing grows (as root)
	@tests/soak $(or $(MINUTES),10)

man: toolchain ## make the man pages and completions anew from the programs' own options
	cargo run -q -p fence-vmchannel-handbook

install: ## copy the built programs and their files; DESTDIR= puts them under a directory
	$(INSTALL) -m 0755 $(target)/release/fence-vmchanneld $(DESTDIR)$(prefix)/sbin/fence-vmchanneld
	$(INSTALL) -m 0755 $(target)/release/fence-vmchannel-hook \
	  $(DESTDIR)$(prefix)/libexec/fence-vmchannel/fence-vmchannel-hook
	$(INSTALL) -m 0755 $(target)/guest/$(host)/release/fence_vmchannel $(DESTDIR)$(prefix)/sbin/fence_vmchannel
	$(INSTALL) -m 0755 packaging/ocf/vm-client $(DESTDIR)$(prefix)/lib/ocf/resource.d/fence-vmchannel/vm-client
	$(INSTALL) -m 0755 packaging/cluster-glue/fence_vmchannel \
	  $(DESTDIR)$(prefix)/lib/stonith/plugins/external/fence_vmchannel
	$(INSTALL) -m 0644 systemd/fence-vmchanneld.service \
	  $(DESTDIR)$(prefix)/lib/systemd/system/fence-vmchanneld.service
	$(INSTALL) -m 0644 -t $(DESTDIR)$(prefix)/lib/systemd/system systemd/fence-vmchannel-broker.socket \
	  systemd/fence-vmchannel-broker.service
	$(INSTALL) -m 0644 udev/60-fence-vmchannel.rules $(DESTDIR)$(prefix)/lib/udev/rules.d/60-fence-vmchannel.rules
	$(INSTALL) -m 0644 udev/fence-vmchannel.sysusers.conf $(DESTDIR)$(prefix)/lib/sysusers.d/fence-vmchannel.conf
	$(INSTALL) -m 0644 -t $(DESTDIR)$(prefix)/share/doc/fence-vmchannel README.md CHANGELOG.md SECURITY.md \
	  systemd/fence-vmchanneld-legacy-network.conf
	cp -R docs $(DESTDIR)$(prefix)/share/doc/fence-vmchannel/
	$(INSTALL) -m 0644 -t $(DESTDIR)$(prefix)/share/man/man5 $(wildcard docs/man/*.5)
	$(INSTALL) -m 0644 -t $(DESTDIR)$(prefix)/share/man/man8 $(wildcard docs/man/*.8)
	$(INSTALL) -m 0644 -t $(DESTDIR)$(prefix)/share/bash-completion/completions $(wildcard completions/bash/*)
	$(INSTALL) -m 0644 -t $(DESTDIR)$(prefix)/share/fish/vendor_completions.d $(wildcard completions/fish/*)
	$(INSTALL) -m 0644 -t $(DESTDIR)$(zsh_completions) $(wildcard completions/zsh/*)

install-compat: ## let fence_virt and fence_xvm be names of fence_vmchannel (not beside the package fence-virt)
	@for name in fence_virt fence_xvm; do \
	  test ! -e $(DESTDIR)$(prefix)/sbin/$$name || test -L $(DESTDIR)$(prefix)/sbin/$$name || { \
	    echo "$(DESTDIR)$(prefix)/sbin/$$name is there: remove the package fence-virt first"; exit 1; }; \
	done
	install -d $(DESTDIR)$(prefix)/sbin
	ln -sfn fence_vmchannel $(DESTDIR)$(prefix)/sbin/fence_virt
	ln -sfn fence_vmchannel $(DESTDIR)$(prefix)/sbin/fence_xvm

fmt: ## format the sources
	cargo fmt --all

clean: ## remove what was built
	cargo clean
