// Command names measures how readable the names of a Go tree are: the mean length of the names of
// its unexported functions and methods, and the share of these names that are one word. Test files
// and generated files do not count. It also finds comment lines that are too long, in every Go file
// that is not generated.
//
//	go run ./internal/names [-worst] [-max-share 0.30] [-min-mean 11] [-max-comment 100] [DIR]
//
// With bounds, it exits 1 when one is missed. -worst lists the one-word names, first those that the
// most packages use. -max-comment counts characters, and prints each line that is longer.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

func main() {
	worst := flag.Bool("worst", false, "list the one-word names")
	maxShare := flag.Float64("max-share", 1, "largest share of one-word names")
	minMean := flag.Float64("min-mean", 0, "least mean length")
	maxComment := flag.Int("max-comment", 0, "most characters of a comment line; 0 for any number")
	flag.Parse()
	dir := flag.Arg(0)
	if dir == "" {
		dir = "."
	}
	var count, letters, single, long int
	where := map[string]map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch name := d.Name(); {
			case name == "vendor", name == "node_modules", name == "testdata", strings.HasPrefix(name, ".") && path != dir:
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		if *maxComment > 0 {
			long += printLongComments(files, file, source, *maxComment)
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Name.IsExported() || fn.Name.Name == "_" || fn.Name.Name == "init" || fn.Name.Name == "main" {
				continue
			}
			name := fn.Name.Name
			count++
			letters += len(name)
			if isOneWord(name) {
				single++
				if where[name] == nil {
					where[name] = map[string]bool{}
				}
				where[name][filepath.Dir(path)] = true
			}
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if count == 0 {
		fmt.Println("no functions")
		return
	}
	mean, share := float64(letters)/float64(count), float64(single)/float64(count)
	if *worst {
		names := make([]string, 0, len(where))
		for n := range where {
			names = append(names, n)
		}
		sort.Slice(names, func(i, j int) bool {
			a, b := len(where[names[i]]), len(where[names[j]])
			return a > b || a == b && names[i] < names[j]
		})
		for _, n := range names {
			fmt.Printf("%3d  %s\n", len(where[n]), n)
		}
	}
	fmt.Printf("%d unexported functions, mean %.1f letters, %.0f %% one word\n", count, mean, 100*share)
	if share > *maxShare || mean < *minMean || long > 0 {
		os.Exit(1)
	}
}

// isOneWord tells whether a name has no second word: no capital and no underscore behind its first
// letter.
func isOneWord(name string) bool {
	for i, r := range name {
		if i > 0 && (unicode.IsUpper(r) || r == '_') {
			return false
		}
	}
	return true
}

// printLongComments prints the comment lines of a file that are longer than most characters, and
// returns how many there are. A comment behind code on the same line does not count.
func printLongComments(files *token.FileSet, file *ast.File, source []byte, most int) (long int) {
	for _, group := range file.Comments {
		if strings.Contains(group.Text(), "Output:") { // an example's output stands as it is printed
			continue
		}
		for _, comment := range group.List {
			at := files.Position(comment.Pos())
			indent := source[at.Offset-at.Column+1 : at.Offset]
			if len(bytes.TrimSpace(indent)) > 0 || strings.HasPrefix(comment.Text, "//go:") {
				continue
			}
			for _, line := range strings.Split(comment.Text, "\n") {
				if n := len(indent) + utf8.RuneCountInString(line); n > most {
					fmt.Printf("%s: a comment line of %d characters; at most %d\n", at, n, most)
					long++
				}
			}
		}
	}
	return long
}
