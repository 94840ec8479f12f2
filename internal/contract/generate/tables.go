package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aeturnis/realtime/internal/contract"
	"github.com/aeturnis/realtime/server"
)

// defaultTables returns the events and limits of a server with default settings.
func defaultTables() (cfg contract.Config, err error) {
	routes, casts, limits, err := server.Tables(server.Config{})
	cfg.Routes, cfg.Casts = routes, casts
	for _, p := range limits {
		cfg.Policies = append(cfg.Policies, contract.Policy{
			Name: p.Name, Limit: p.Limit, WindowMs: p.Window.Milliseconds(), Scope: string(p.Scope),
		})
	}
	return cfg, err
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
