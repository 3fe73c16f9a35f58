# Loads: everything starts here. All paths are relative, so that a checkout
# works in any folder, also in one with spaces in its path.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LISTEN   ?= 127.0.0.1:8080
FUZZTIME ?= 20s
BENCH    ?= .
BENCHTIME ?= 1s
TESTTIME ?= 20m
DRILLS   ?= 2000
SEED     ?=

# The version is stamped by -ldflags. Go's own stamping of git's state is off,
# since it fails in a checkout that belongs to another user.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)
export VERSION LISTEN FUZZTIME TESTTIME

LDFLAGS := -s -w -X main.version=$(VERSION)
ifeq ($(shell uname -s),Linux)
# One static program: the same file runs on any Linux and in an empty image.
STATIC := -tags osusergo,netgo,sqlite_omit_load_extension
STATIC_LDFLAGS := -linkmode external -extldflags "-static"
endif

.PHONY: help
help: ## list these verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

.PHONY: build
build: ## build bin/loads, with its pages, and the bin/loads-node programs
	@scripts/need.sh go gcc npm
	@scripts/pages.sh
	CGO_ENABLED=1 go build -trimpath $(STATIC) -ldflags '$(LDFLAGS) $(STATIC_LDFLAGS)' -o bin/loads ./cmd/loads
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/loads-node-linux-amd64 ./cmd/loads-node
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/loads-node-linux-arm64 ./cmd/loads-node

.PHONY: demo
demo: build ## run examples/quickstart.yaml to its end on this computer's Docker engine
	@scripts/demo.sh

# The tests of everything together come last and one package after the other:
# they start engines, machines and brokers, and have enough of each other.
.PHONY: test
test: build ## run every test, with the race detector
	@scripts/test-deps.sh
	packages=$$(go list ./... | grep -v '/e2e'); go test -race -count=1 -timeout $(TESTTIME) $$packages
	go test -race -count=1 -timeout $(TESTTIME) -p 1 ./e2e/...

.PHONY: lint
lint: ## check format, vet, staticcheck, import directions, sizes and known vulnerabilities
	@scripts/need.sh go gcc
	@scripts/lint.sh

.PHONY: drills
drills: build ## let clouds, machines and brokers fail under many runs (DRILLS=2000, SEED=number repeats one)
	@scripts/need.sh go gcc
	DRILLS=$(DRILLS) SEED=$(SEED) go test -race -count=1 -v -timeout 6h ./e2e/drills -run '^TestDrills_LightMachines$$'

.PHONY: bench
bench: ## run the benchmarks (BENCH=name, BENCHTIME=1s)
	@scripts/need.sh go gcc
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem ./...

.PHONY: bench-relay
bench-relay: ## measure the relay side by side with other receivers of statsd (BENCHFLAGS='-repeat 1 -realtime')
	@scripts/bench-relay.sh $(BENCHFLAGS)

.PHONY: bench-scale
bench-scale: build ## measure a broker with 10 to 3,000 light machines; takes 40 minutes (BENCHFLAGS='-machines 100')
	@go build -o .build/benchscale ./e2e/benchscale
	@.build/benchscale $(BENCHFLAGS)

.PHONY: bench-gen
bench-gen: ## measure the load generator side by side with others (BENCHFLAGS='-repeat 1 -only wrk,loads')
	@scripts/bench-gen.sh $(BENCHFLAGS)

.PHONY: fuzz
fuzz: ## run each fuzz target for a while (FUZZTIME=20s)
	@scripts/need.sh go gcc
	@scripts/fuzz.sh

.PHONY: serve
serve: build ## leave a broker running on 127.0.0.1:8080 (LISTEN=addr:port)
	@scripts/serve.sh start

.PHONY: stop
stop: ## stop the broker that make serve has left running
	@scripts/serve.sh stop

.PHONY: image
image: build ## build the broker's container image, loads/broker
	@scripts/image.sh

.PHONY: clean
clean: ## remove what was built; keeps the data of make serve, in .run
	rm -rf bin .build
	find web/dist -type f ! -name README.txt -delete
