// Command notice writes what the licences of others ask of a release: it names each module, npm
// package and font that is in the programs, with its licence and the licence's text. It exits 1
// when one of them has no text, or a licence that nobody has looked at.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	npm := flag.String("npm", "web/testclient", "the folder whose node_modules hold what is embedded")
	out := flag.String("o", "", "write to this file (default: print nothing, and only check)")
	flag.Parse()
	if err := run(*npm, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "notice:", err)
		os.Exit(1)
	}
}

// run collects the parts that the SBOMs name and those of npm, and writes them to out.
func run(npm, out string, sboms []string) error {
	if len(sboms) == 0 {
		return fmt.Errorf("usage: notice [-npm FOLDER] [-o FILE] SBOM...")
	}
	modules, err := readModules(sboms)
	if err != nil {
		return err
	}
	packages, err := readPackages(npm)
	if err != nil {
		return err
	}
	parts := append(modules, packages...)
	if err := checkParts(parts); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "notice: %d Go modules and %d npm packages have known licences\n", len(modules), len(packages))
	if out == "" {
		return nil
	}
	return os.WriteFile(out, []byte(formatNotice(parts)), 0o644) //nolint:gosec // it is there to be read
}
