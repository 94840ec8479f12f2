# `make help` lists the targets. Settings go on the line: make run ARGS="--addr 127.0.0.1:9000"

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO    ?= go
NPM   ?= npm
TOOL  := $(GO) tool -modfile=tools.mod
# Arguments for `gateway serve` in `make run`.
ARGS  ?=
# Arguments for `make bench`.
BENCH ?=
# Packages for `make test` and `make bench`, one test or more for `make test`: RUN=TestName.
PKG   ?= ./...
RUN   ?=
# How long each fuzz target runs.
FUZZTIME ?= 30s

BUNDLE := web/testclient/vendor/socket.io.esm.min.js
# npm would empty the folder that a link leads to, such as that of another work tree: the link goes instead.
NPM_CI := { [ ! -L node_modules ] || rm node_modules; } && $(NPM) ci --no-audit --no-fund --loglevel=error
# The packages of the examples in JavaScript that every run of the tests plays.
EXAMPLES := examples/page/node_modules examples/emitter/node_modules examples/express/node_modules

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Build and serve on http://127.0.0.1:8080, with guest logins and a Redis of its own
	@bin/gateway serve --dev $(ARGS)

# How many gateways `make cluster` starts: 2 or 3.
NODES ?= 3

.PHONY: cluster
cluster: build ## Three gateways and a Redis behind HAProxy on http://127.0.0.1:8080 (NODES=2)
	@NODES=$(NODES) scripts/cluster $(ARGS)

.PHONY: build
build: $(BUNDLE) ## Build bin/gateway, the test client's page included, and bin/loadtest
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$$(scripts/ldflags)" -o bin/ ./cmd/gateway ./cmd/loadtest

.PHONY: release
release: $(BUNDLE) ## Build dist/: binaries for Linux and macOS, SBOMs, NOTICE, packages, images, checksums (VERSION=v0.1.0)
	@GO='$(GO)' scripts/release dist

.PHONY: reproduce
reproduce: ## Build the release again, from another folder and without caches, and compare it with dist/ (minutes)
	@GO='$(GO)' scripts/check-reproducible dist

.PHONY: licenses
licenses: build ## Look whether all that is in the programs has a licence that is known and allowed
	@GO='$(GO)' scripts/notice - bin/gateway bin/loadtest

.PHONY: site
site: $(BUNDLE) site/node_modules ## Build the documents as a site with search into site/dist, check its links, look at it in the browser
	cd site && $(NPM) run --silent build
	SITE=1 $(GO) test -count=1 ./site

site/node_modules: site/package-lock.json
	cd site && $(NPM_CI)
	@touch $@

.PHONY: vuln
vuln: $(BUNDLE) ## Look for known vulnerabilities; exits 4 and says so where the data cannot be had
	@GO='$(GO)' scripts/vuln

.PHONY: size-check
size-check: build
	scripts/check-binaries

# The files from npm: the official client's bundles, as the lock file names them. The page's is the stamp of all.
$(BUNDLE): web/testclient/package-lock.json web/testclient/package.json web/testclient/vendor.mjs
	cd web/testclient && $(NPM_CI) && node vendor.mjs
	@touch $@

.PHONY: deps
deps: ## Install what the tests need and is missing (as root, through apt-get)
	@scripts/install

.PHONY: test
test: deps build $(EXAMPLES) ## Run every test: Go with -race, the official JavaScript client, the browser
	@PKG='$(PKG)' RUN='$(RUN)' scripts/test

.PHONY: test-go
test-go: $(BUNDLE) examples/page/node_modules ## Run the Go tests alone (PKG=./chat RUN=TestName)
	$(GO) test -race -timeout 15m $(if $(RUN),-run '$(RUN)') $(PKG)

.PHONY: test-example
test-example: $(BUNDLE) ## Build and test examples/feature alone, a module of its own
	cd examples/feature && $(GO) vet ./... && $(GO) test -race -timeout 5m ./...

.PHONY: test-deploy
test-deploy: ## Read deploy/ with the types of Kubernetes and Grafana, send spans to a real collector (a module of its own; minutes)
	cd deploy/check && $(GO) vet ./... && $(GO) test -timeout 10m ./...

.PHONY: test-client
test-client: build test/client/node_modules $(EXAMPLES) ## Run the tests with the official JavaScript client alone
	cd test/client && NODE_OPTIONS="--test-reporter=spec" $(NPM) test

test/client/node_modules: test/client/package-lock.json
	cd test/client && $(NPM_CI)
	@touch $@

# Artillery needs no script of its packages, and one of them would fetch browsers.
examples/%/node_modules: examples/%/package-lock.json
	cd examples/$* && $(NPM_CI) $(if $(filter artillery,$*),--ignore-scripts)
	@touch $@

.PHONY: test-artillery
test-artillery: build test/client/node_modules examples/artillery/node_modules ## Run examples/artillery with the whole of Artillery (480 MB of packages; minutes)
	cd test/client && node --test --test-timeout=300000 --test-reporter=spec artillery.test.js

.PHONY: chaos
chaos: $(BUNDLE) build test/client/node_modules ## Kill, stop and cut gateways, Redis and links; then audit, and compare what was heard; flood the page (an hour)
	CHAOS=1 $(GO) test -count=1 -timeout 60m -parallel 4 -v -run '$(or $(RUN),.)' ./internal/chaos
	CHAOS=1 $(GO) test -count=1 -timeout 10m -v -run '$(or $(RUN),TestAFlood)' ./web/testclient
	$(if $(RUN),,cd test/client && CHAOS=1 node --test --test-reporter=spec recovery.test.js)

.PHONY: screenshot
screenshot: $(BUNDLE) ## Take docs/screenshot.png anew, in the browser test
	UPDATE_SCREENSHOT=1 $(GO) test -count=1 ./web/testclient

.PHONY: check
check: format-check lint names generate-check size-check licenses test-deploy test-artillery fuzz ## Check format, lint, imports, names, generated files, binaries, licences, deploy/, Artillery; fuzz each target for FUZZTIME

.PHONY: format
format: ## Format the Go code
	$(TOOL) gofumpt -w $$(git ls-files '*.go')

.PHONY: format-check
format-check:
	@bad=$$($(TOOL) gofumpt -l $$(git ls-files '*.go')); \
	if [ -n "$$bad" ]; then printf 'make format would change:\n%s\n' "$$bad"; exit 1; fi

.PHONY: lint
lint: $(BUNDLE) ## go vet and golangci-lint, the import picture included (the first time builds it: minutes)
	$(GO) vet ./...
	$(TOOL) golangci-lint run

# At most 30 % of the unexported functions have a name of one word, the mean length is at least 11
# letters, and no comment line has more than 100 characters.
.PHONY: names
names: ## Measure the names and comment lines of the Go code
	$(GO) run ./internal/names -max-share 0.30 -min-mean 11 -max-comment 100 .

.PHONY: generate
generate: ## Write the generated files
	scripts/generate

.PHONY: generate-check
generate-check:
	$(GO) mod tidy -diff
	$(GO) mod verify
	scripts/generate --check

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZTIME (30s)
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: build internal/bench/peer-node/node_modules ## Measure against the Node peer; fails below a ratio (BENCH="-only ping -quick")
	@status=0; $(GO) run ./internal/bench $(BENCH) || status=$$?; \
	$(if $(BENCH),,$(MAKE) bench-cache || status=$$?;) exit $$status

internal/bench/peer-node/node_modules: internal/bench/peer-node/package-lock.json
	cd internal/bench/peer-node && $(NPM_CI)
	@touch $@

.PHONY: bench-go
bench-go: $(BUNDLE) ## Run the Go benchmarks (PKG=./gateway/engineio)
	$(GO) test -run '^$$' -bench . -benchmem $(PKG)

.PHONY: bench-cache
bench-cache: ## Measure the cache beside plain go-redis and go-redis/cache (a module of its own)
	cd internal/bench/cache && $(GO) test -run '^$$' -bench . -benchmem

.PHONY: clean
clean: ## Remove what was built and downloaded here
	rm -rf bin dist site/{dist,pages,navigation.json,.vitepress/cache} {site,web/testclient,test/client,internal/bench/peer-node,internal/conformance/node,examples/*}/node_modules $(BUNDLE)
