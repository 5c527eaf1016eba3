# The C libraries: built, installed, tested. Included by the Makefile.

PROFILE    ?= release
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
CC         ?= cc
STRIP      ?= strip

# The version of the interface (include/ouroboros/version.h).
CAPI_SONAME  := 0.23
CAPI_VERSION := 0.23.0

CAPI_LIBS    := dev irm
# Cargo's name of the profile 'debug' is 'dev'.
CAPI_PROFILE := $(if $(filter debug,$(PROFILE)),dev,$(PROFILE))
CAPI_ARCHIVE := $(CARGO_TARGET_DIR)/$(PROFILE)
CAPI_OUT     := $(CARGO_TARGET_DIR)/capi/$(PROFILE)
CAPI_SOURCES := $(wildcard crates/capi/*.h crates/capi/*/*.c crates/capi/*/*.map include/ouroboros/*.h)
CAPI_CFLAGS  := -std=c99 -O2 -g -fPIC -fvisibility=default -fexceptions -Wall -Wextra -Werror -Iinclude
# What Rust's standard library needs, and nothing else; without dlclose(), which cannot end threads.
CAPI_LDFLAGS := -shared -Wl,--no-undefined -Wl,--gc-sections -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now
CAPI_LDLIBS  := -lgcc_s -lpthread -lm -ldl -lc

.PHONY: capi install-capi uninstall-capi test-capi capi-archives

capi: $(CAPI_LIBS:%=$(CAPI_OUT)/libouroboros-%.so.$(CAPI_VERSION)) ## the C libraries

capi-archives:
	$(CARGO) build --quiet --profile $(CAPI_PROFILE) $(CAPI_LIBS:%=--package o7s-capi-%)

# Cargo knows whether an archive is old; it is linked anew only if it is.
$(CAPI_LIBS:%=$(CAPI_ARCHIVE)/libo7s_capi_%.a): capi-archives ;

$(CAPI_OUT)/libouroboros-%.so.$(CAPI_VERSION): $(CAPI_ARCHIVE)/libo7s_capi_%.a $(CAPI_SOURCES)
	@mkdir -p $(CAPI_OUT)
	$(CC) $(CAPI_CFLAGS) $(CFLAGS) $(CAPI_LDFLAGS) $(LDFLAGS) \
		-Wl,--version-script=crates/capi/$*/$*.map -Wl,-soname,libouroboros-$*.so.$(CAPI_SONAME) \
		-o $@.new crates/capi/$*/$*.c $< $(CAPI_LDLIBS)
	mv $@.new $@

install-capi: capi ## C libraries, headers, pkg-config and CMake files, below PREFIX (/usr/local)
	for lib in $(CAPI_LIBS); do \
		so=libouroboros-$$lib.so; \
		install -D -m 755 $(CAPI_OUT)/$$so.$(CAPI_VERSION) $(DESTDIR)$(LIBDIR)/$$so.$(CAPI_VERSION) && \
		ln -sf $$so.$(CAPI_VERSION) $(DESTDIR)$(LIBDIR)/$$so.$(CAPI_SONAME) && \
		ln -sf $$so.$(CAPI_SONAME) $(DESTDIR)$(LIBDIR)/$$so && \
		install -d $(DESTDIR)$(LIBDIR)/pkgconfig && \
		sed -e 's|@prefix@|$(PREFIX)|; s|@libdir@|$(LIBDIR)|; s|@includedir@|$(INCLUDEDIR)|' \
			-e "s|@lib@|$$lib|; s|@version@|$(CAPI_VERSION)|" crates/capi/ouroboros.pc.in \
			> $(DESTDIR)$(LIBDIR)/pkgconfig/ouroboros-$$lib.pc || exit 1; done
	for header in include/ouroboros/*.h; do \
		install -D -m 644 $$header $(DESTDIR)$(INCLUDEDIR)/ouroboros/$${header##*/} || exit 1; done
	for file in crates/capi/cmake/*.cmake; do \
		install -D -m 644 $$file $(DESTDIR)$(LIBDIR)/cmake/Ouroboros/$${file##*/} || exit 1; done

uninstall-capi: ## remove them again
	for lib in $(CAPI_LIBS); do \
		rm -f $(DESTDIR)$(LIBDIR)/libouroboros-$$lib.so* $(DESTDIR)$(LIBDIR)/pkgconfig/ouroboros-$$lib.pc; done
	rm -rf $(DESTDIR)$(INCLUDEDIR)/ouroboros $(DESTDIR)$(LIBDIR)/cmake/Ouroboros

test-capi: ## the C libraries, by programs in C
	$(CARGO) build --quiet --package o7s-irmd --package o7s-ipcpd --bins
	$(CARGO) test --package o7s-capi
