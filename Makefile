# `make help` lists what there is to make. Everything is made in bin/ and .strata/, which git ignores.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X github.com/strata-csi/strata/pkg/version.version=$(VERSION)
GOBUILD := go build -trimpath -ldflags '$(LDFLAGS)'

# The programs of a node are static and know no librados; tests/static proves it. The tool of operators is static too.
STATIC := strata-node strata-mountd strata-coldfs kubectl-strata
# go-ceph is told the oldest release of Ceph it may rely on.
CGO := strata-controller

.PHONY: help build packages test e2e lab nightly bench demo demo-down lint manifests verify fmt clean $(STATIC) $(CGO)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(STATIC) $(CGO) ## build the programs in bin/

$(STATIC):
	CGO_ENABLED=0 $(GOBUILD) -o bin/$@ ./cmd/$@

$(CGO):
	CGO_ENABLED=1 $(GOBUILD) -tags pacific -o bin/$@ ./cmd/$@

packages: ## install the Debian packages that are missing (as root)
	go run ./hack/ceph install

# The runner is built first, so that a signal to make reaches it and not `go run`.
test: ## pass every test, with a Ceph of its own; ONLY=unit,sanity for a part
	@CGO_ENABLED=0 go build -o bin/hack-test ./hack/test
	@exec bin/hack-test -only '$(ONLY)'

e2e: ## deploy into a Kubernetes of two nodes with a Ceph, run tests/e2e there, clear away; ONLY=REGEXP for a part, KEEP=1 keeps the cluster, BENCH=1 measures instead
	@CGO_ENABLED=0 go build -o bin/hack-e2e ./hack/e2e
	@exec bin/hack-e2e -only '$(ONLY)' $(if $(KEEP),-keep) $(if $(BENCH),-bench)

lab: ## everything that runs in the emulated machine, of which `make test` runs a part
	@CGO_ENABLED=0 go build -o bin/hack-test ./hack/test
	@STRATA_LAB=full exec bin/hack-test -only kernel

nightly: packages ## what takes too long for make test: a directory of 100,000 files and 1,000,000 operations on a file of tier cold, and all of make lab
	STRATA_FSX_OPS=1000000 STRATA_FSX_SEED=$${STRATA_FSX_SEED:-$$RANDOM} go test -count=1 -timeout 6h -v -tags nightly -run '^(TestADirectoryOfAHundredThousandFiles|TestFSX)$$' ./pkg/coldfs
	@$(MAKE) --no-print-directory lab

bench: packages ## measure against the bare commands and disks, and other clients of S3; results in docs/benchmarks.md
	@CGO_ENABLED=1 go build -tags pacific -o bin/hack-bench ./hack/bench
	@exec bin/hack-bench -write

demo: ## show a shared volume on two nodes, a cold and scratch volumes, and clear away; KEEP=1 waits for ctrl-C first
	@CGO_ENABLED=0 go build -o bin/hack-demo ./hack/demo
	@exec bin/hack-demo $(if $(KEEP),-keep) up

demo-down: ## clear away what a demo left that was killed
	@CGO_ENABLED=0 go build -o bin/hack-demo ./hack/demo
	@exec bin/hack-demo down

lint: ## formatting, vet, staticcheck and the rules of imports
	go run ./hack/lint

fmt: ## format the code
	gofmt -s -w $$(git ls-files '*.go')

manifests: ## write deploy/manifests from the chart in deploy/strata
	cd hack/chart && go run . manifests

verify: ## everything that is generated is what its source gives
	go mod verify
	go mod tidy -diff
	cd hack/chart && go mod tidy -diff && go run . verify
	cd hack/s3 && go mod tidy -diff
	@before=$$(git diff | sha256sum); go generate ./...; \
	if [ "$$before" != "$$(git diff | sha256sum)" ]; then git --no-pager diff --stat; echo "generated files were out of date"; exit 1; fi

clean: ## remove what was built; clusters are ended with demo-down
	rm -rf bin
	go clean -testcache
