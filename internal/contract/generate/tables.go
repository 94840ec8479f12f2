package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/contract"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/presence"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// A feature is two tables: what players may ask of it, and what it tells them.
type feature interface {
	Routes() []event.Route
	Casts() []event.Cast
}

// defaultTables returns the events and limits of a server with default settings. The features are
// made only for their tables: nothing runs, and nothing asks Redis, which need not exist.
func defaultTables() contract.Config {
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: "/nonexistent/redis.sock", MaxRetries: -1})
	defer func() { _ = rdb.Close() }() // it was never connected
	var settings gateway.Config
	for _, f := range []feature{
		chat.New(rdb, nil, chat.Config{}),
		combat.New(rdb, nil, combat.Config{}),
		leaderboard.New(rdb, leaderboard.Config{}),
		presence.New(rdb, nil, presence.Config{}),
		trade.New(rdb, nil, nil, nil, trade.Config{}),
	} {
		settings.Routes = append(settings.Routes, f.Routes()...)
		settings.Casts = append(settings.Casts, f.Casts()...)
	}
	g := gateway.New(settings) // it adds events of its own
	defer g.Close()
	cfg := contract.Config{Routes: g.Routes(), Casts: g.Casts()}
	for _, p := range throttle.Defaults(false) {
		cfg.Policies = append(cfg.Policies, contract.Policy{
			Name: p.Name, Limit: p.Limit, WindowMs: p.Window.Milliseconds(), Scope: string(p.Scope),
		})
	}
	slices.SortFunc(cfg.Policies, func(a, b contract.Policy) int { return strings.Compare(a.Name, b.Name) })
	return cfg
}

// readFeatureList returns the folders that hold features.
func readFeatureList(root string) ([]string, error) {
	list, err := os.ReadFile(filepath.Join(root, "internal/contract/features.txt")) //nolint:gosec // root is the tree of the project
	return strings.Fields(string(list)), err
}

// checkFeatureList reports an event whose handler is in a folder that the list does not name: its
// comments would be missing.
func checkFeatureList(cfg contract.Config, features []string) error {
	for _, r := range cfg.Routes {
		folder, _, _ := strings.Cut(strings.TrimPrefix(r.Handler, contract.Module), ".")
		if folder != "gateway" && !slices.Contains(features, folder) {
			return fmt.Errorf("event %s is served by folder %s, which features.txt does not list", r.Name, folder)
		}
	}
	return nil
}
