# make            builds bin/meshd
# make demo       a real mesh through real NATs on this machine (root, Debian)
# make test       every test; the namespace tests too when root
# make guest      the kernel's WireGuard, in an emulated machine; part of test when root
# make grid       every kind of NAT meets every other; writes deploy/lab/grid/GRID.md (root)
# make bench      throughput against bare wireguard-go and the kernel's WireGuard, as ratios
# make microbench the stages of a packet's way one by one; compared with the run before
# make soak       SOAK (10m) of numbered packets both ways: which were lost, rekeyings, memory (root)
# make fuzz       grows the corpora of the parsers, FUZZTIME each

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 20s
SOAK     ?= 10m
SYSTEMS  := darwin windows freebsd
PREFIX   ?= /usr/local

export CGO_ENABLED = 0

.PHONY: all build demo grid guest test check cross bench bench-tools microbench soak fuzz generate install tools lab-tools

all: build

build:
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/meshd ./cmd/meshd

tools:
	@deploy/tools.sh

lab-tools:
	@deploy/tools.sh lab

# KEEP=1 leaves the mesh running until Ctrl-C.
demo: lab-tools build
	$(GO) build -o bin/demo ./deploy/lab/demo
	bin/demo $(if $(KEEP),-keep) bin/meshd

# These make network namespaces, which takes root, and build the binary that they
# run, of which Go's cache of test results knows nothing.
NEED_ROOT := meshd/deploy/lab meshd/deploy/lab/e2e meshd/deploy/lab/grid meshd/deploy/lab/inkernel

# Where time is simulated, one processor at a time: the race detector of Go 1.26 has
# one context for all timers of a bubble of testing/synctest, and dies if two use it at
# once. What races it finds all the same, as it goes by what happens before what.
BUBBLES = $(sort $(shell $(GO) list -f '{{$$p := .ImportPath}}{{range .TestImports}}{{if eq . "testing/synctest"}}{{$$p}} {{end}}{{end}}{{range .XTestImports}}{{if eq . "testing/synctest"}}{{$$p}} {{end}}{{end}}' ./...))

test: tools check cross build
	CGO_ENABLED=1 $(GO) test -race -cpu 1 $(BUBBLES)
	CGO_ENABLED=1 $(GO) test -race $(filter-out $(NEED_ROOT) $(BUBBLES),$(shell $(GO) list ./...))
	MESHD_GRID_SEEDS=40 $(GO) test -run 'TestGridSeeds|TestSearch|TestDiscoverBlock' ./punch
ifeq ($(shell id -u),0)
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 30m $(NEED_ROOT)
	$(MAKE) guest
else
	@echo "not root: left out $(NEED_ROOT)"
endif

# GUEST_RUN chooses among the stories of deploy/lab/e2e and the pairs of deploy/lab/grid,
# GUEST_SKIP leaves out of them. Two guests share them, and their clocks count
# instructions: on a busy machine everything takes as long as ever, by that clock.
# Wide registers cost the emulator more than they save the guest. With GUEST_FLAGS= it is
# one guest of two processors, by the clock on the wall.
# What is left out, and why: deploy/lab/e2e/doc.go.
GUEST_RUN     ?= Test
GUEST_SKIP    ?= Avahi|LANAreRepublished|RelaysInTheKernel|Bundles|TestHostFirewalls|TestInbound|TestMTU|BesideAnother|Bulk|TestStrangersAtHostFirewalls$$|TwoHomes|TestSymmetric|PathDies|PathsSwitch|RoughLinks|RandomBytes|GatewaysThatTakePackets|IPv4ThatLeads|DropsWireGuard|MemberNearer|ShortMemory|Siblings|MemberRelays|JoinStrings|CannotRun|NewerVersion|Overlaps|CannotStart|AnotherKey|WaitsForApproval|DiskOf|ByDig|NamesAtTheHub|AnotherServer|NamesInTheHostsFile|OtherNames|NetcheckBefore|TestFast
GUEST_FLAGS   ?= -icount -guests 2 -cpu qemu64,+aes,+ssse3,+sse4.1,+sse4.2,+popcnt,+pclmulqdq,+rdrand
GUEST_TIMEOUT ?= 20m

guest: build
	@deploy/tools.sh guest
	$(GO) build -o bin/guest ./deploy/lab/guest
	$(GO) vet -tags guest ./deploy/lab/e2e ./deploy/lab/grid
	$(GO) test -c -tags guest -o bin/e2e.test ./deploy/lab/e2e
	$(GO) test -c -tags guest -o bin/grid.test ./deploy/lab/grid
	bin/guest -kernel bin/guest.kernel -timeout $(GUEST_TIMEOUT) $(GUEST_FLAGS) -env MESHD_PREBUILT=/bin/meshd -add bin/meshd -add bin/e2e.test -add bin/grid.test \
		/bin/sh -c 'code=0; for t in e2e grid; do $$t.test -test.v -test.run "$(GUEST_RUN)" -test.skip "$(GUEST_SKIP)" || code=$$?; done; exit $$code'

check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...

cross:
	@for os in $(SYSTEMS); do echo "build and vet for $$os"; GOOS=$$os $(GO) build ./... && GOOS=$$os $(GO) vet ./... || exit 1; done

# About ten minutes. What everybody logged and sent stays in bin/grid.logs.
grid: lab-tools build
	$(GO) build -o bin/grid ./deploy/lab/grid
	rm -rf bin/grid.logs
	bin/grid -n 3 -o deploy/lab/grid/GRID.md -logs bin/grid.logs bin/meshd

bench-tools: lab-tools build
	$(GO) build -o bin/wireguard-go golang.zx2c4.com/wireguard
	$(GO) build -o bin/bench ./deploy/lab/bench

bench: bench-tools
	@deploy/tools.sh guest
	$(GO) build -o bin/guest ./deploy/lab/guest
	bin/bench -json bin/bench.json -guest 'bin/guest -kernel bin/guest.kernel' bin/meshd bin/wireguard-go

STAGES    := Segments|Seal|Coalescer|Sum|Receive|Send|Onward|Probe|RelayUDP
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

# To compare with something else put that into bin/micro.txt beforehand.
microbench:
	@mkdir -p bin
	@if [ -e bin/micro.txt ]; then mv bin/micro.txt bin/micro.old.txt; fi
	$(GO) test -run '^$$' -bench '$(STAGES)' -benchtime 0.3s -count 6 ./agent/tunnel/fastpath ./agent/tunnel/vnet ./punch ./punch/wire ./punch/relay > bin/micro.tmp
	@mv bin/micro.tmp bin/micro.txt
	$(GO) run $(BENCHSTAT) $$(ls bin/micro.old.txt 2>/dev/null) bin/micro.txt

# Everything in it runs before whatever else the machine has to do, so that what is
# lost is lost by meshd. (A nice value would not do: it counts within a session.)
soak: bench-tools
	chrt --rr 1 bin/bench -only soak -soak $(SOAK) -json bin/soak.json bin/meshd bin/wireguard-go

fuzz:
	@$(GO) list -f '{{$$p := .ImportPath}}{{range .TestGoFiles}}{{$$p}} {{end}}{{range .XTestGoFiles}}{{$$p}} {{end}}' ./... | tr ' ' '\n' | sort -u | grep . | while read -r pkg; do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg || exit 1; done; done

# Needs buf, protoc-gen-go and protoc-gen-connect-go on the PATH.
generate:
	cd coordinator/api && buf generate

install: build
	install -D -m 755 bin/meshd $(DESTDIR)$(PREFIX)/bin/meshd
	install -D -m 644 -t $(DESTDIR)/etc/systemd/system deploy/systemd/*.service
