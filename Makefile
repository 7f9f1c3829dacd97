# "make help" lists the targets. Tools are built into bin/ at the versions below;
# nothing needs to be installed but Go, git, make and a shell.

GOLANGCI_LINT := v2.15.0
BUF           := v1.75.0
NFPM_VERSION  := v2.45.1
BENCHSTAT_AT  := v0.0.0-20260908200009-22c9c6c9d4da
FUZZTIME      ?= 10s
MINUTES       ?= 60

LINT := bin/golangci-lint-$(GOLANGCI_LINT)
GEN  := bin/buf-$(BUF)
NFPM := bin/nfpm-$(NFPM_VERSION)
BENCHSTAT := bin/benchstat-$(BENCHSTAT_AT)

.PHONY: help build demo test race fuzz faults sample soak mutations bench micro lint replay generate packages checked units booted clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' Makefile

build: ## bin/confsyncd
	go build -trimpath -o bin/confsyncd ./cmd/confsyncd

demo: build tmp/demo/source ## replicate tmp/demo/source to tmp/demo/target until Ctrl-C
	bin/confsyncd --state-dir tmp/demo/state dev tmp/demo/source tmp/demo/target

tmp/demo/source:
	testdata/work-copy $@

test: ## all tests
	go test ./...

race: ## tests with the race detector, but for those of one goroutine or of processes that take long
	go test -race -short ./...

fuzz: ## every fuzz target for FUZZTIME (10s) each
	.ci/fuzz $(FUZZTIME)

# What a part is tried for replaces its rows in the document.
faults: bin/etcd bin/etcdctl bin/etcdutl ## every fault of the lab [RUN=group/name], into docs/faults.md
	.ci/faults '$(RUN)'

sample: bin/etcd bin/etcdctl bin/etcdutl ## some faults, drawn at random, for SAMPLE (5m) [SEED=]
	.ci/faults -sample '$(or $(SAMPLE),5m)' '$(SEED)'

soak: bin/etcd bin/etcdctl bin/etcdutl ## faults drawn at random, again and again, for MINUTES (60)
	.ci/faults -soak '$(MINUTES)'

mutations: bin/etcd bin/etcdctl bin/etcdutl ## breaks the program on purpose, and has the fault lab see it
	.ci/mutations

bench: bin/etcd bin/etcdctl bin/plots ## how fast it is, beside the machine and others [RUN=figure], into docs/benchmarks.md
	.ci/bench '$(RUN)'

micro: $(BENCHSTAT) ## Go's benchmarks of the parts, beside those of the run before [RUN=Patch COUNT=6], in tmp/micro.txt
	.ci/micro $(BENCHSTAT) '$(RUN)' '$(or $(COUNT),6)'

# Its lock lies in TMPDIR: other checkouts and users have their own.
lint: $(LINT) ## golangci-lint, with the rules of .golangci.yml
	mkdir -p tmp
	TMPDIR=$(CURDIR)/tmp GOLANGCI_LINT_CACHE=$(CURDIR)/tmp/lint $(LINT) run ./...

replay: build bin/replay bin/etcd bin/etcdctl ## replay REPO, a git repository or bundle: [FROM= TO= MODE=]
	bin/replay -repo '$(REPO)' -from '$(FROM)' -to '$(TO)' -mode '$(MODE)'

generate: $(GEN) bin/protoc-gen-go ## Go code from internal/codec/wirepb/wire.proto
	BUF_CACHE_DIR=tmp/buf $(GEN) generate

packages: $(NFPM) ## deb and rpm for amd64 and arm64, in tmp/packages
	packaging/build $(NFPM) tmp/packages

checked: $(NFPM) ## packages built twice: the same bytes, and what lintian and rpm say
	.ci/packages $(NFPM)

units: ## what systemd-analyze says of the units
	.ci/units

booted: $(NFPM) bin/etcd bin/etcdctl ## units and packages tried in a systemd booted for it (root)
	.ci/booted $(NFPM)

clean: ## remove bin/ and tmp/
	rm -rf bin tmp

.PHONY: bin/replay # Go knows better than make whether it is up to date.
bin/replay:
	go build -o $@ ./cmd/replay

$(LINT):
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	mv bin/golangci-lint $@

$(GEN):
	GOBIN=$(CURDIR)/bin go install github.com/bufbuild/buf/cmd/buf@$(BUF)
	mv bin/buf $@

$(NFPM):
	GOBIN=$(CURDIR)/bin go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	mv bin/nfpm $@

$(BENCHSTAT):
	GOBIN=$(CURDIR)/bin go install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_AT)
	mv bin/benchstat $@

# The version of go.mod.
bin/protoc-gen-go: go.mod
	go build -o $@ google.golang.org/protobuf/cmd/protoc-gen-go

# etcd's programs, from a module of their own: its server needs far more than we do.
bin/etcd: tools/go.mod
	cd tools && go build -o ../$@ go.etcd.io/etcd/server/v3

# Draws what was measured; what it needs is no business of the product's go.mod either.
bin/plots: tools/go.mod tools/plots/main.go
	cd tools && go build -o ../$@ ./plots

bin/etcdctl bin/etcdutl: bin/%: tools/go.mod
	cd tools && go build -o ../$@ go.etcd.io/etcd/$*/v3
