# Two targets matter to a newcomer: demo and test. Both set up what they need.

SHELL     := /bin/bash
BIN       := .tmp/bin
FUZZTIME  ?= 30000x
BENCHTIME ?= 1s
export FUZZTIME

.DEFAULT_GOAL := help
.PHONY: help demo test announce consumer unit fmt lint fuzz chaos postgres bench curves profiles microbench vuln recording setup clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: ## three nodes, one Postgres, a page to chat on
	@scripts/setup postgres
	@[ -x $(BIN)/chat ] || echo "compiling the demo: the first time this takes about half a minute" >&2
	@go build -o $(BIN)/chat ./examples/chat && exec $(BIN)/chat

test: announce setup $(BIN)/golangci-lint $(BIN)/withpg ## all that CI runs: format, vet, lint, a consumer, fuzz, tests with the race detector
	@scripts/test

announce:
	@echo "make test takes about 20 minutes on two cores, and the first time a few more to install and compile what it needs" >&2

unit: ## the root module's tests only, the way go runs them
	@go test ./...

fmt: $(BIN)/golangci-lint ## format every Go file
	@scripts/each-module $(CURDIR)/$(BIN)/golangci-lint fmt ./...

lint: $(BIN)/golangci-lint ## look for what a reviewer should not have to say
	@scripts/each-module $(CURDIR)/$(BIN)/golangci-lint run ./...

consumer: ## use the modules as a consumer does, outside of this directory
	@scripts/consumer

fuzz: ## run each fuzz target for FUZZTIME
	@scripts/fuzz

chaos: setup ## fault injection: 100 runs of a cluster under all faults at once, two hours
	@scripts/chaos

postgres: ## the tests of the Postgres part on every major, through poolers, with hostile settings: half an hour; ARGS='-major 18' for a part
	@scripts/setup majors
	@go run ./internal/pgserver/matrix $(ARGS)

bench: $(BIN)/withpg ## measure against what the machine allows, as a table; ARGS='-only latency' for a part
	@scripts/setup bench
	@cd integration && ../$(BIN)/withpg go run ./bench $(ARGS)

curves: $(BIN)/withpg ## draw how costs grow, for docs/benchmarks.md: five minutes; ARGS='-only rooms' for a part
	@cd integration && ../$(BIN)/withpg go run ./bench -curves ../docs/curves $(ARGS)

profiles: $(BIN)/withpg ## where the processor time goes, as profiles and tables in .tmp/profiles
	@cd integration && ../$(BIN)/withpg go run ./bench -profile ../.tmp/profiles $(ARGS)

microbench: $(BIN)/withpg ## run the Go benchmarks, each for BENCHTIME
	@$(BIN)/withpg go test -run='^$$' -bench=. -benchmem -benchtime=$(BENCHTIME) ./...

vuln: ## look for known vulnerabilities; needs the vulnerability database
	@cd tools && go build -o ../$(BIN)/ golang.org/x/vuln/cmd/govulncheck
	@scripts/each-module $(CURDIR)/$(BIN)/govulncheck ./...

recording: ## record the demo for README.md: a killed node in a real browser; a minute on an idle machine
	@scripts/record

setup:
	@scripts/setup

clean: ## remove built tools and caches
	@rm -rf .tmp

# The tools are pinned in a module of their own, so that nobody who imports this one downloads them.
$(BIN)/golangci-lint: tools/go.mod tools/go.sum
	@echo "building golangci-lint, once" >&2
	@cd tools && GOFLAGS=-buildvcs=false go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint 2> >(grep -v '^go: downloading' >&2)
	@touch $@

$(BIN)/withpg: $(wildcard internal/pgserver/*.go internal/pgserver/withpg/*.go)
	@go build -o $@ ./internal/pgserver/withpg
