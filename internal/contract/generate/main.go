// Command generate writes the documents of the contract: asyncapi.json, events.d.ts and EVENTS.md.
// It reads the comments from the source below ROOT and the table of events from the features that
// a server has by default, and writes the documents into the folder DIR.
//
//	go run ./internal/contract/generate ROOT DIR
package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"

	"github.com/aeturnis/realtime/internal/contract"
	"github.com/aeturnis/realtime/internal/serverapi"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: generate ROOT DIR")
		os.Exit(2)
	}
	if err := writeDocuments(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func writeDocuments(root, dir string) error {
	documents, err := generateDocuments(root)
	if err != nil {
		return err
	}
	for name, text := range documents {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // everybody may read it
			return err
		}
	}
	return nil
}

// generateDocuments returns the documents by file name.
func generateDocuments(root string) (map[string][]byte, error) {
	features, err := readFeatureList(root)
	if err != nil {
		return nil, err
	}
	comments, err := readSource(root, append(features, "gateway"))
	if err != nil {
		return nil, err
	}
	cfg, err := defaultTables()
	if err != nil {
		return nil, err
	}
	if err := checkFeatureList(cfg, features); err != nil {
		return nil, err
	}
	cfg.Comments = comments
	introduction, err := os.ReadFile(filepath.Join(root, callsFolder, "introduction.txt")) //nolint:gosec // root is the tree of the project
	if err != nil {
		return nil, err
	}
	c, api := contract.New(cfg), contract.NewAPI(describeCalls(), comments)
	return map[string][]byte{
		"asyncapi.json": c.AsyncAPI(), "events.d.ts": c.TypeScript(), "EVENTS.md": c.Markdown(),
		"openapi.json": api.OpenAPI(), "server-api.md": api.Markdown(string(introduction)),
	}, nil
}

// describeCalls returns the table of the server API.
func describeCalls() (calls []contract.APICall) {
	for _, c := range serverapi.Calls() {
		calls = append(calls, contract.APICall{
			Name: c.Name, Method: c.Method, Path: c.Path, Scope: c.Scope, In: c.In, Out: c.Out, Handler: c.Handler, HasEffect: c.HasEffect(),
		})
	}
	return append(calls, contract.APICall{
		Name: "batch", Method: http.MethodPost, Path: serverapi.Root + "batch", In: reflect.TypeFor[serverapi.Batch](), Out: reflect.TypeFor[serverapi.BatchResult](), HasEffect: true,
		Doc: "Does up to 100 calls, in their order, and answers each. A call that is refused does not stop those behind it. Casts without an idempotency key are delivered in their order, and not waited for one by one.",
	})
}
