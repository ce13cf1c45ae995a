# Build, test and install smigrate. `make help` lists the targets.
VERSION  := 0.1.0
BUILD    ?= build
PREFIX   ?= /usr
SYSCONFDIR ?= /etc
BINDIR   := $(PREFIX)/bin
SBINDIR  := $(PREFIX)/sbin
LIBEXECDIR := $(PREFIX)/libexec/smigrate
MANDIR   := $(PREFIX)/share/man
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
# Debian keeps Slurm's plugins in slurm-wlm; a site built from source keeps them in slurm.
PLUGINDIR ?= $(PREFIX)/lib/$(MULTIARCH)/slurm-wlm
PKGS     := yaml-0.1 sqlite3 jansson libssl libcrypto liblz4

CC       ?= gcc
CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wformat=2 -Wstrict-prototypes -Wvla
CPPFLAGS += -D_GNU_SOURCE -iquote core -DSMG_VERSION='"$(VERSION)"' -DSMG_LIBEXECDIR='"$(LIBEXECDIR)"' \
	-DSMG_BINDIR='"$(BINDIR)"' -DSMG_CONF_PATH='"$(SYSCONFDIR)/smigrate/smigrate.conf"'
ALL_CFLAGS = -std=gnu11 -fPIC -fvisibility=hidden -pthread $(WARN) $(CFLAGS) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS     = -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lmunge -lm -pthread

lib_src    := $(wildcard $(addprefix core/,$(addsuffix /*.c,base workflow state runtime transfer engine)))
slurm_src  := $(filter-out %_fake.c,$(wildcard core/slurm/*.c))
init_src   := $(wildcard core/init/*.c)
daemon_src := $(wildcard core/daemon/*.c)
cli_src    := $(wildcard core/cli/*.c)
shim_src   := $(wildcard core/shim/*.c)
postdump_src := $(wildcard core/postdump/*.c)
lazy_src   := $(wildcard core/lazy/*.c)
plugin_src := $(wildcard spank_plugin/*.c)
sentinel_src := $(wildcard spank_plugin/sentinel/*.c) spank_plugin/daemon_client.c
unit_src   := $(wildcard tests/unit/test_*.c)
selfcheck_src := $(wildcard tests/box/selfcheck/*.c)
selfcheck := $(BUILD)/tests/box/selfcheck/selfcheck
bench_src  := $(wildcard tests/bench/*.c)
# Short lines unless V=1.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

lib      := $(BUILD)/libsmigrate.a
programs := $(BUILD)/smigrate $(BUILD)/smigrated $(BUILD)/smigrate-shim $(BUILD)/smigrate-post-dump $(BUILD)/smigrate-lazy \
	$(BUILD)/smigrate-sentinel $(BUILD)/smigrate-init
plugin   := $(BUILD)/spank_smigrate.so
units    := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(unit_src))
benches  := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(bench_src))

.PHONY: all deps unit units drives benches check check-vm triggers faults soak model demo lint asan bench fuzz valgrind install deb clean help
all: $(programs) $(plugin)

# What is built as another version is built anew.
version := $(BUILD)/.version
$(version): $(if $(filter $(VERSION),$(shell cat $(BUILD)/.version 2>/dev/null)),,force)
	@mkdir -p $(@D)
	@echo '$(VERSION)' >$@
.PHONY: force

$(BUILD)/%.o: %.c Makefile $(version)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(lib): $(call obj,$(lib_src))
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/smigrated: $(call obj,$(daemon_src) $(slurm_src)) $(lib)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lslurm
$(BUILD)/smigrate: $(call obj,$(cli_src)) $(lib)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/smigrate-shim: $(call obj,$(shim_src)) $(lib)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/smigrate-post-dump: $(call obj,$(postdump_src)) $(lib)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/smigrate-lazy: $(call obj,$(lazy_src)) $(lib)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/smigrate-sentinel: $(call obj,$(sentinel_src))
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
# Nothing but libc, which every container of a script has mapped anyway.
$(BUILD)/smigrate-init: $(call obj,$(init_src))
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
$(plugin): $(call obj,$(plugin_src)) spank_plugin/spank_smigrate.lds
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -shared -Wl,--version-script=spank_plugin/spank_smigrate.lds -o $@ $(filter %.o,$^)

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(lib) $(wildcard tests/unit/*.h)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS) -lcmocka
# It runs in a container, whatever C library is in there.
$(BUILD)/tests/bench/ballast: $(BUILD)/tests/bench/ballast.o
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -static -o $@ $^
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(lib)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

# It runs in a container with nothing in it but itself.
$(selfcheck): $(call obj,$(selfcheck_src))
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -static -o $@ $^
$(BUILD)/tests/box/%: $(BUILD)/tests/box/%.o $(lib)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

deps: ## install what building and testing needs (Debian, root)
	tests/deps

unit: $(units) ## unit tests: seconds, no root
	BUILD=$(BUILD) tests/run unit

check: ## every test, in the box too (root); sets up what it needs
	tests/deps
	$(MAKE) all $(units)
	BUILD=$(BUILD) tests/run all

check-vm: ## what needs whole machines: every test on guests in QEMU (root); sets up what it needs
	tests/deps
	$(MAKE) all
	BUILD=$(BUILD) tests/run vm

triggers: ## every way in which Slurm takes a node, row by row (root)
	tests/deps
	$(MAKE) all
	TRIGGERS=all BUILD=$(BUILD) tests/run box --only 25-triggers

faults: ## bad luck at every point of source, target and state host, one row each; hours (root)
	tests/deps
	$(MAKE) all
	BOX=$${BOX:-all} FAULTS=all bash tests/box/t/80-faults.sh
	BOX=$${BOX:-all} FAULTS=all DURABLE=disk bash tests/box/t/80-faults.sh

MINUTES ?= 60
soak: ## random workflows, preemptions and faults for MINUTES (60), by SEED; then all of `make faults`, unless FAULTS=no (root)
	tests/deps
	$(MAKE) all
	tests/soak/soak.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))
	$(if $(filter no,$(FAULTS)),,$(MAKE) faults)

model: ## the hand-over between nodes, state host and Slurm, explored by spin; and what happens without each of its rules
	tests/deps model
	tests/model/run

demo: ## a real preemption and migration, start to end (root)
	tests/demo

lint: ## every warning of gcc, clang, clang-tidy, cppcheck, shellcheck; clang-format
	BUILD=$(BUILD) tests/lint

asan: ## unit and cli tests under AddressSanitizer and UBSan
	$(MAKE) BUILD=$(BUILD)/asan CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined' \
		all units
	BUILD=$(BUILD)/asan tests/run unit
	BUILD=$(BUILD)/asan tests/run cli

valgrind: all units ## unit tests under valgrind
	BUILD=$(BUILD) VALGRIND=1 tests/run unit

units: $(units)
drives := $(patsubst tests/box/%.c,$(BUILD)/tests/box/%,$(wildcard tests/box/drive_*.c))
drives: $(drives) $(selfcheck)

benches: $(benches)
bench: all benches ## the figures, in an hour; QUICK=1: in minutes; VM=1: of the copy modes, on guests (root)
	BUILD=$(BUILD) $(if $(VM),env -u VM tests/bench/vm,tests/bench/run)

fuzz: ## libFuzzer on the workflow parser, streamed memory and pages that follow, FUZZ_SECONDS each
	BUILD=$(BUILD) tests/fuzz/run

install: all ## into DESTDIR
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(PLUGINDIR) \
		$(DESTDIR)$(SYSCONFDIR)/smigrate $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d $(DESTDIR)$(PREFIX)/lib/systemd/system \
		$(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man7 $(DESTDIR)$(MANDIR)/man8
	install -m 755 $(BUILD)/smigrate $(DESTDIR)$(BINDIR)
	install -m 755 $(BUILD)/smigrated $(DESTDIR)$(SBINDIR)
	install -m 755 $(BUILD)/smigrate-shim $(BUILD)/smigrate-post-dump $(BUILD)/smigrate-lazy $(BUILD)/smigrate-sentinel $(BUILD)/smigrate-init \
		$(DESTDIR)$(LIBEXECDIR)
	ln -sf $(BINDIR)/smigrate $(DESTDIR)$(LIBEXECDIR)/smigrate-script
	install -m 644 $(plugin) $(DESTDIR)$(PLUGINDIR)
	[ -e $(DESTDIR)$(SYSCONFDIR)/smigrate/smigrate.conf ] || install -m 644 etc/smigrate.conf $(DESTDIR)$(SYSCONFDIR)/smigrate
	install -m 644 etc/plugstack.conf.d/smigrate.conf $(DESTDIR)$(SYSCONFDIR)/slurm/plugstack.conf.d
	sed 's|/usr/sbin|$(SBINDIR)|' etc/systemd/smigrated.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/smigrated.service
	for n in 1 5 7 8; do install -m 644 etc/man/*.$$n $(DESTDIR)$(MANDIR)/man$$n; done
	install -D -m 644 etc/tmpfiles.d/smigrate.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/smigrate.conf
	install -D -m 644 etc/sysctl.d/50-smigrate.conf $(DESTDIR)$(PREFIX)/lib/sysctl.d/50-smigrate.conf
	install -D -m 644 etc/bash-completion/smigrate $(DESTDIR)$(PREFIX)/share/bash-completion/completions/smigrate

# The tree is laid out anew, with the times of its files: what has not changed is not compiled again.
DEB := $(BUILD)/deb
deb: ## the Debian package, into $(BUILD)/deb; what it needs: tests/deps deb
	@mkdir -p $(DEB)/src
	rsync -a --delete --exclude=/build --exclude=/debian Makefile LICENSE README.md CHANGELOG.md core etc spank_plugin workflows $(DEB)/src
	rsync -a --delete etc/debian $(DEB)/src
	sed 's/@VERSION@/$(VERSION)/' etc/debian/changelog.in >$(DEB)/src/debian/changelog
	rm -f $(DEB)/*.deb
	cd $(DEB)/src && dpkg-buildpackage -b -d -us -uc -nc >../build.log 2>&1 || { tail -n 20 ../build.log >&2; exit 1; }
	@ls $(DEB)/smigrate_*.deb

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
