// Command gather reads the comments of the contract from the source: of the types that travel, of
// the functions that serve events, and the messages of faults. It writes comments.json to its output.
//
//	go run ./contract/gather ROOT > contract/comments.json
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type typeComment struct {
	Doc    string            `json:"doc,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
	Values []string          `json:"values,omitempty"`
}

type comments struct {
	Types    map[string]*typeComment `json:"types"`
	Handlers map[string]string       `json:"handlers"`
	Faults   map[string]string       `json:"faults"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gather ROOT")
		os.Exit(2)
	}
	out, err := gather(os.Args[1])
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gather:", err)
		os.Exit(1)
	}
}

// skipped are folders without features.
var skipped = []string{"bench", "chaos", "cmd", "conformance", "contract", "docs", "loadtest", "node_modules", "redistest", "redisx", "testdata", "wiretest"}

// gather reads every package under root that knows players: those that import package event.
func gather(root string) ([]byte, error) {
	all := &comments{map[string]*typeComment{}, map[string]string{}, map[string]string{}}
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { //nolint:gosec // root is the tree of the project
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains(skipped, d.Name())):
			return fs.SkipDir
		case d.IsDir():
			return all.folder(files, root, path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.MarshalWrite(&b, all, json.Deterministic(true), jsontext.WithIndent("  "))
	return append(b.Bytes(), '\n'), err
}

func (c *comments) folder(files *token.FileSet, root, dir string) error {
	pkg, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	var parsed []*ast.File
	travels := false
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		parsed = append(parsed, f)
		for _, i := range f.Imports {
			travels = travels || strings.HasSuffix(i.Path.Value, `/realtime/event"`)
		}
	}
	for _, f := range parsed {
		ast.Inspect(f, c.faults)
		if travels {
			c.file(filepath.ToSlash(pkg), f)
		}
	}
	return nil
}

// file notes what a file says about types that travel, and about functions that serve events.
func (c *comments) file(pkg string, f *ast.File) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if serves(d) {
				c.Handlers[pkg+"."+receiver(d)+d.Name.Name] = flat(d.Doc)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					c.structure(pkg, d, s)
				case *ast.ValueSpec:
					if d.Tok == token.CONST {
						c.constants(pkg, s)
					}
				}
			}
		}
	}
}

func (c *comments) at(name string) *typeComment {
	if c.Types[name] == nil {
		c.Types[name] = &typeComment{Fields: map[string]string{}}
	}
	return c.Types[name]
}

// structure notes a struct with JSON tags, or a named string.
func (c *comments) structure(pkg string, d *ast.GenDecl, s *ast.TypeSpec) {
	doc := s.Doc
	if doc == nil && !d.Lparen.IsValid() {
		doc = d.Doc
	}
	switch t := s.Type.(type) {
	case *ast.Ident:
		if t.Name == "string" {
			c.at(pkg + "." + s.Name.Name).Doc = flat(doc)
		}
	case *ast.StructType:
		tagged := map[string]string{}
		for _, f := range t.Fields.List {
			if f.Tag == nil || !strings.Contains(f.Tag.Value, "json:") {
				continue
			}
			said := flat(f.Doc)
			if said == "" {
				said = flat(f.Comment)
			}
			for _, n := range f.Names {
				tagged[n.Name] = said
			}
		}
		if len(tagged) == 0 {
			return
		}
		note := c.at(pkg + "." + s.Name.Name)
		note.Doc = flat(doc)
		for name, said := range tagged {
			if said != "" {
				note.Fields[name] = said
			}
		}
	}
}

// constants notes the values of a named string type.
func (c *comments) constants(pkg string, s *ast.ValueSpec) {
	typ, ok := s.Type.(*ast.Ident)
	if !ok || typ.Name == "string" {
		return
	}
	for _, v := range s.Values {
		if text, ok := literal(v); ok {
			note := c.at(pkg + "." + typ.Name)
			note.Values = append(note.Values, text)
		}
	}
}

// faults notes the code and the message of every fault.New.
func (c *comments) faults(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 {
		return true
	}
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); !ok || x.Name != "fault" || f.Sel.Name != "New" {
			return true
		}
	case *ast.Ident:
		if f.Name != "New" {
			return true
		}
	default:
		return true
	}
	code, is := literal(call.Args[0])
	message, was := literal(call.Args[1])
	if own := call.Fun; is && was {
		if _, inFault := own.(*ast.Ident); inFault || c.Faults[code] == "" {
			c.Faults[code] = message
		}
	}
	return true
}

// serves tells whether a function has the shape of an event.Handler.
func serves(d *ast.FuncDecl) bool {
	in, out := d.Type.Params, d.Type.Results
	if out.NumFields() != 2 || in.NumFields() != 3 || len(in.List) < 2 {
		return false
	}
	player, ok := in.List[1].Type.(*ast.SelectorExpr)
	return ok && player.Sel.Name == "Player"
}

func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	switch t := d.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if id, ok := t.X.(*ast.Ident); ok {
			return "(*" + id.Name + ")."
		}
	case *ast.Ident:
		return t.Name + "."
	}
	return ""
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// flat is a comment as one paragraph.
func flat(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }
