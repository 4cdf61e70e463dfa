# Everything is built and tested through here; `make help` lists the targets. See docs/building.md.

# Distribution of the images: debian or ubuntu. Empty: the host's family, its release and its archives.
export DISTRO ?=
export SUITE ?=
export MIRROR ?=
# What is costly to build is kept here, keyed by a hash over everything that goes into it.
export BEDPLATE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bedplate
# Kernel of the bootstraps (generic, cloud), kind of OS image and live system (full, small), where they are written.
export KERNEL ?= generic
export VARIANT ?= full
export OUT ?=
# CONDUCTED=1: puppet and mcollective in the OS image.
export CONDUCTED ?=
# Public keys that may log in to a bootstrap as root: a file in the form of authorized_keys.
export SSH_AUTHORIZED_KEYS ?=
# REFRESH=1 builds cached images anew, with the packages of today.
export REFRESH ?=
# Another agent than that of `make static` for the bootstrap and the benchmark.
export AGENT ?=
# Scenarios of `make e2e`, by part of the name; empty: all.
E2E ?=
# How long `make fuzz` runs each of its targets.
FUZZ_SECONDS ?= 600

CARGO ?= cargo
# One set for everything that is checked and tested, so that it is compiled once. What is shipped has no `schema`.
CHECKED := master,schema
DEMO := $(or $(CARGO_TARGET_DIR),target)/debug/examples/demo
# The last line of the demo is a command to copy; make's own words must not follow it.
MAKEFLAGS += --no-print-directory
# Scenarios run in guests with the cloud kernel and the small OS image, which are apart from the real ones.
VM_IMAGES := $(CURDIR)/build/vm
export BEDPLATE_VM_IMAGES := $(VM_IMAGES)

.NOTPARALLEL:
.PHONY: help setup build static deb bootstrap live-bootstrap os-image loaders vm-images conducted-vm-image live-vm-image vm-loaders lint \
	test-quick test-root schema test \
	test-static e2e e2e-long demo demo-stop fuzz bench bench-plan bench-master bench-image clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 16

setup: ## install the packages that the other targets need (root)
	@packaging/setup.sh

build: ## agent and master for this host, for development
	$(CARGO) build --locked --features master

static: ## release agent as one static file, proved static
	@packaging/static/build.sh

deb: $(if $(AGENT),,static) ## Debian packages of the agent, of its mcollective agents and of the master (OUT, AGENT)
	$(CARGO) build --locked --release --features master --bin bedplate-master
	@packaging/deb/build.py --master $(or $(CARGO_TARGET_DIR),target)/release/bedplate-master $(if $(OUT),--out $(OUT))

bootstrap: $(if $(AGENT),,static) ## kernel and initrd that network-boot a node (root; KERNEL, OUT, SSH_AUTHORIZED_KEYS)
	@packaging/bootstrap/build.sh

live-bootstrap: $(if $(AGENT),,static) ## kernel, initrd and live system in a squashfs (root; KERNEL, VARIANT, OUT, SSH_AUTHORIZED_KEYS)
	@packaging/bootstrap/live.sh

os-image: ## operating system image to provision, with its side-car (root; VARIANT, CONDUCTED, OUT)
	@packaging/os-image/build.sh

loaders: ## signed shim and GRUB, and iPXE, for the master's network boots (root; SUITE, OUT)
	@packaging/loaders/build.sh

vm-images: ## bootstrap with the cloud kernel and small OS image, for tests and demo (root)
	@$(MAKE) --no-print-directory bootstrap KERNEL=cloud OUT=$(VM_IMAGES)/bootstrap
	@$(MAKE) --no-print-directory os-image VARIANT=small OUT=$(VM_IMAGES)/os-image

conducted-vm-image: ## small OS image with puppet and mcollective, for the long scenarios (root)
	@$(MAKE) --no-print-directory os-image VARIANT=small CONDUCTED=1 OUT=$(VM_IMAGES)/os-image-conducted

live-vm-image: ## small live bootstrap with the cloud kernel, for tests (root)
	@$(MAKE) --no-print-directory live-bootstrap KERNEL=cloud VARIANT=small OUT=$(VM_IMAGES)/live

vm-loaders: ## the same, for tests (root)
	@$(MAKE) --no-print-directory loaders OUT=$(VM_IMAGES)/loaders

lint: ## formatting, clippy, shellcheck, documentation, dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features $(CHECKED) -- -D warnings
	$(CARGO) clippy --locked --all-targets --features $(CHECKED),e2e -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --features $(CHECKED)
	packaging/lint/shell.sh
	packaging/lint/dependencies.sh

test-quick: ## tests that need neither root nor a virtual machine
	$(CARGO) test --locked --features $(CHECKED) -- --skip needs_root

test-root: ## tests that need root and no virtual machine
	@packaging/cobbler/venv.sh >/dev/null
	$(CARGO) test --locked --features $(CHECKED) -- needs_root

schema: ## write docs/schema anew from the types
	UPDATE_GOLDEN=1 $(CARGO) test --locked --features $(CHECKED) --test schemas published

test: setup lint test-quick test-root vm-images live-vm-image vm-loaders test-static e2e ## everything that must pass (root)

test-static: ## the static agent in an empty root directory (root, after `make static`)
	BEDPLATE_STATIC=$(or $(CARGO_TARGET_DIR),target)/x86_64-unknown-linux-gnu/release/bedplate \
		$(CARGO) test --locked --features $(CHECKED),e2e --test static_binary

e2e: ## scenarios in virtual machines (root; E2E=name picks)
	$(CARGO) test --locked --features $(CHECKED),e2e --test e2e -- --nocapture $(E2E)

e2e-long: setup vm-images live-vm-image conducted-vm-image ## scenarios that take long, in virtual machines (root; E2E=name picks)
	$(CARGO) test --locked --features $(CHECKED),e2e --test e2e --test builder -- --nocapture --ignored $(E2E)

demo: setup vm-images ## provision a virtual machine from discovery to its first boot (root; KEEP=1)
	$(CARGO) build --locked --features master --bins --example demo
	@$(DEMO)

demo-stop: ## end the machine that KEEP=1 left running
	$(CARGO) build --locked --features master --example demo
	@$(DEMO) stop

fuzz: ## foreign bytes for everything that reads them (cargo-fuzz, nightly; FUZZ_SECONDS)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo 'cargo-fuzz is missing: cargo install cargo-fuzz'; exit 1; }
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { echo 'a nightly toolchain is missing: rustup toolchain install nightly'; exit 1; }
	sh fuzz/seed.sh
	cd fuzz && $(CARGO) +nightly fuzz run request -- -max_total_time=$(FUZZ_SECONDS) -dict=corpus/words.dict
	cd fuzz && $(CARGO) +nightly fuzz run plan -- -max_total_time=$(FUZZ_SECONDS) -dict=corpus/words.dict
	cd fuzz && for target in qcow2 bmap packed split archive sums xmlrpc; do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

bench: bench-plan bench-master bench-image ## what is promised in numbers, beside other programs (root)

bench-plan: ## a plan for 60 disks, beside Python's JSON reader
	$(CARGO) build --locked --release --features master --bins --example bench-plan
	@$(or $(CARGO_TARGET_DIR),target)/release/examples/bench-plan

bench-master: ## the master under 1,000 reporting nodes and 200 readers, beside nginx and cat
	$(CARGO) build --locked --release --features master --bins --example bench-master
	@$(or $(CARGO_TARGET_DIR),target)/release/examples/bench-master

bench-image: $(if $(AGENT),,static) ## images onto a disk, beside what does so today (root; ROUNDS, FORMS, PEERS, TARGET)
	@packaging/bench/peers.sh
	@packaging/bench/images.sh
	@packaging/bench/bench.py

clean: ## remove what was built here; the cache stays
	$(CARGO) clean
	rm -rf build
