# hyper-io-replica. `make help` lists the targets. Everything that is needed is fetched on the way:
# Deno and the libraries from npm into .deps/, programs from Debian (apt; root or sudo).

DENO_VERSION := 2.9.6
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
DEPS := $(ROOT)/.deps
PREFIX ?= /usr/local
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH")
export PATH := $(DEPS)/bin:$(PATH)
export DENO_DIR := $(DEPS)/deno-dir
export DENO_NO_UPDATE_CHECK := 1

# What the program needs on the machine, and what the guest and the tests need besides.
PACKAGES_RUN := liburing2
PACKAGES_GUEST := qemu-system-x86 dmsetup e2fsprogs xfsprogs fio util-linux kmod iproute2 zstd xz-utils
# For the S3 server of the tests, which is a Python program, its certificates, what shows the page cache
# (fincore), and the C headers that the kernel's records are compared with.
PACKAGES_TEST := util-linux-extra openssl $(if $(shell command -v pip3),,python3-pip) \
	$(if $(shell command -v cc),,gcc) libc6-dev linux-libc-dev liburing-dev

SOURCES := main.ts $(shell find src ffi -name '*.ts')
RUN := deno run -A --no-prompt --quiet
.PHONY: build check test demo guest guest-shell sim soak bench install clean help packages-run packages-guest packages-test

build: packages-run build/hyper-io-replica ## Build build/hyper-io-replica (the default)

check: build ## Formatting, lint, types and the repository's own rules
	@deno task --quiet check

test: build packages-guest packages-test ## All tests; SUITE="unit tidy" runs some of them
	@$(SUDO) $(RUN) tools/test.ts $(SUITE)

demo: build packages-guest $(if $(filter s3,$(REPLICA)),packages-test) ## Show it: format, add, copy, export, compare (SIZE=256MiB, FROM=/usr/lib, REPLICA=s3)
	@$(SUDO) $(RUN) tools/demo.ts $(if $(REPLICA),--replica $(REPLICA)) $(if $(SIZE),--size $(SIZE)) \
		$(if $(FROM),--from $(FROM))

guest: build packages-guest ## Run CMD='…' in a guest with ublk; ARGS='--disk 1G --net', KERNEL=sid, GUEST_ACCEL=tcg
	@$(SUDO) $(RUN) tools/guest/run.ts $(ARGS) -- bash -c "$$CMD"
# Not expanded by make: CMD reaches the guest as it was typed.
guest: override export CMD := $(value CMD)

guest-shell: build packages-guest ## A shell in a guest; ARGS and KERNEL as for guest
	@$(SUDO) $(RUN) tools/guest/run.ts --shell $(ARGS)

sim: $(DEPS)/libraries ## Simulate SEEDS=1000 worlds (FROM=1), or replay one with its trace: SEED=x
	@$(RUN) tools/sim.ts $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --from $(or $(FROM),1))

soak: build packages-guest packages-test ## The long runs, hours: what make test shows in minutes; FILTER="text" runs some
	@$(SUDO) $(RUN) tools/test.ts --soak $(if $(FILTER),--filter "$(FILTER)") $(SUITE)

bench: build packages-guest packages-test ## Benchmarks: tables, and build/bench.json; ARGS='--only path --rounds 1'
	@$(SUDO) $(RUN) tools/bench.ts $(ARGS)

install: build ## Install under PREFIX=/usr/local a command that runs this checkout
	install -D -m 755 build/hyper-io-replica $(DESTDIR)$(PREFIX)/bin/hyper-io-replica

clean: ## Remove what was built; .deps/ stays (remove it by hand to fetch everything anew)
	rm -rf build coverage

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

packages-run:
	@sh tools/setup/apt.sh $(PACKAGES_RUN)

packages-guest:
	@sh tools/setup/apt.sh $(PACKAGES_GUEST)

packages-test:
	@sh tools/setup/apt.sh $(PACKAGES_TEST)

$(DEPS)/deno-$(DENO_VERSION):
	@sh tools/setup/deno.sh $(DENO_VERSION) $(DEPS)
	@touch $@

# The libraries of deno.json go into DENO_DIR, so that nothing is fetched at run time.
$(DEPS)/libraries: $(DEPS)/deno-$(DENO_VERSION) deno.json deno.lock
	@cd $(ROOT) && deno install --quiet $(if $(CI),--frozen)
	@touch $@

# The second line's run leaves compiled code for the next ones: under emulation compiling takes seconds.
build/hyper-io-replica: tools/setup/wrapper.sh tools/setup/bundle.ts $(DEPS)/libraries $(SOURCES)
	@$(RUN) tools/setup/bundle.ts build/lib
	@DENO_DIR=build/cache $(RUN) build/lib/main.js --help >/dev/null
	@sed 's|@ROOT@|$(ROOT)|' tools/setup/wrapper.sh >$@
	@chmod +x $@
