package server

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A loggedMessage is a message of the log, as the source writes it.
type loggedMessage struct {
	levels, fields map[string]bool
}

// TestEveryLogMessageIsDocumented compares docs/logs.md with the source: each message that is
// logged, its levels and its fields. UPDATE_LOGS=1 writes the document anew. A message or a field
// that can not be read from the source is a failure. The tests of cmd/gateway look for what the
// source does not say: each line that they see must be of the document.
func TestEveryLogMessageIsDocumented(t *testing.T) {
	t.Parallel()
	s := logSource{T: t, messages: map[string]*loggedMessage{}, constants: map[string]string{}}
	for _, folder := range []string{"../server", "../gateway", "../redisconn", "../auth", "../internal/adminui", "../internal/webhooks"} {
		for path, file := range parseFolder(t, folder) {
			s.addConstants(file)
			s.files = append(s.files, sourceFile{path, file})
		}
	}
	for _, f := range s.files {
		s.addMessages(f)
	}
	for _, w := range warningKinds { // whose texts are in the table
		s.add(w.text, "warn").fields["kind"] = true
	}
	require.Greater(t, len(s.messages), 80)
	for text, m := range s.messages {
		if m.fields["conn"] && !m.fields["session"] {
			t.Errorf("%q names a connection without its session", text)
		}
	}
	var b strings.Builder
	b.WriteString("# Log messages\n\nEvery message of the gateway's log, with its levels and fields. Each line has `level`, `at`, `msg` and `node` besides. A message with `error` or\n" +
		"`cause` has it only where something failed. Lines that begin with `http: ` are those of Go's HTTP server. This page is written by\n" +
		"`UPDATE_LOGS=1 go test ./server -run TestEveryLogMessageIsDocumented`, and compared with the source by that test.\n\n| message | level | fields |\n|---|---|---|\n")
	for _, text := range slices.Sorted(maps.Keys(s.messages)) {
		m := s.messages[text]
		fields := ""
		if len(m.fields) > 0 {
			fields = "`" + strings.Join(slices.Sorted(maps.Keys(m.fields)), "` `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.ReplaceAll(text, "|", `\|`), strings.Join(slices.Sorted(maps.Keys(m.levels)), ", "), fields)
	}
	if os.Getenv("UPDATE_LOGS") != "" {
		require.NoError(t, os.WriteFile("../docs/logs.md", []byte(b.String()), 0o600))
	}
	written, err := os.ReadFile("../docs/logs.md")
	require.NoError(t, err)
	require.Equal(t, b.String(), string(written), "UPDATE_LOGS=1 go test ./server -run TestEveryLogMessageIsDocumented writes it")
	for text := range outageParts {
		require.Contains(t, s.messages, text, "a line that follows from an outage")
	}
	for text := range aloneLines {
		require.Contains(t, s.messages, text, "a line that is written during an outage")
	}
}

// A logSource is the source code that logs.
type logSource struct {
	*testing.T
	files     []sourceFile
	messages  map[string]*loggedMessage
	constants map[string]string // by name, of all packages
}

// A sourceFile is a file of the source.
type sourceFile struct {
	path string
	*ast.File
}

// parseFolder returns the files of a folder and of those in it, but tests, by path.
func parseFolder(t *testing.T, folder string) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, 0)
		return err
	}))
	return files
}

// addConstants notes the texts that a file gives names.
func (s *logSource) addConstants(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			if text, ok := s.textOf(value); ok {
				s.constants[spec.Names[i].Name] = text
			}
		}
		return true
	})
}

// textOf returns the value of an expression that is a text: literals, constants and sums of them.
func (s *logSource) textOf(x ast.Expr) (string, bool) {
	switch x := x.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(x.Value)
		return text, err == nil && x.Kind == token.STRING
	case *ast.Ident:
		text, ok := s.constants[x.Name]
		return text, ok
	case *ast.BinaryExpr:
		left, ok := s.textOf(x.X)
		right, isText := s.textOf(x.Y)
		return left + right, ok && isText
	}
	return "", false
}

// add returns a message at a level.
func (s *logSource) add(text, level string) *loggedMessage {
	m := s.messages[text]
	if m == nil {
		m = &loggedMessage{map[string]bool{}, map[string]bool{}}
		s.messages[text] = m
	}
	m.levels[level] = true
	return m
}

// addMessages adds the messages that the functions of a file log.
func (s *logSource) addMessages(file sourceFile) {
	usesZap := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"go.uber.org/zap"` })
	for _, decl := range file.Decls {
		ast.Inspect(decl, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			level, args, isGathered := logCallOf(call)
			if len(args) == 0 || !usesZap && !isLogger(call.Fun.(*ast.SelectorExpr).X) {
				s.addWarning(call, decl)
				return true
			}
			text, ok := s.textOf(args[0])
			if !ok {
				if !isTextOfWarning(args[0]) {
					s.Errorf("%s: a message is not a text of the source", file.path)
				}
				return true
			}
			m := s.add(text, level)
			if isGathered || call.Ellipsis.IsValid() { // the fields are gathered in this function
				addFields(m.fields, decl)
				return true
			}
			for _, arg := range args[1:] {
				if !s.addField(m.fields, arg, decl) {
					s.Errorf("%s: a field of %q can not be read from the source", file.path, text)
				}
			}
			return true
		})
	}
}

// isLogger reports whether an expression is a logger by its name.
func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "log"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log" || x.Sel.Name == "Log"
	}
	return false
}

// addWarning adds the fields that a call of warnings.set has.
func (s *logSource) addWarning(call *ast.CallExpr, decl ast.Decl) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || method.Sel.Name != "set" || len(call.Args) < 2 {
		return
	}
	kind, _ := s.textOf(call.Args[0])
	for _, w := range warningKinds {
		if w.kind != kind {
			continue
		}
		for _, arg := range call.Args[2:] {
			if !s.addField(s.add(w.text, "warn").fields, arg, decl) || !s.addField(s.add("a warning holds no more", "info").fields, arg, decl) {
				s.Errorf("a field of the warning %s can not be read from the source", kind)
			}
		}
	}
}

// isTextOfWarning reports whether an expression is the text of a kind of warning.
func isTextOfWarning(x ast.Expr) bool {
	index, ok := x.(*ast.IndexExpr)
	if !ok {
		return false
	}
	texts, ok := index.X.(*ast.SelectorExpr)
	return ok && texts.Sel.Name == "texts"
}

// logCallOf returns the level of a call that logs, and its arguments from the message on; none for
// other calls. isGathered says that the fields are given to Write later.
func logCallOf(call *ast.CallExpr) (level string, args []ast.Expr, isGathered bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return "", nil, false
	}
	if pkg, ok := method.X.(*ast.Ident); ok && pkg.Name == "zap" { // which makes a field
		return "", nil, false
	}
	switch level = strings.ToLower(method.Sel.Name); level {
	case "debug", "info", "warn", "error", "dpanic", "panic", "fatal":
		return level, call.Args, false
	case "log":
		return "info or debug", call.Args[1:], false
	case "check":
		if at, ok := call.Args[0].(*ast.SelectorExpr); ok && at.Sel.Name == "WarnLevel" {
			return "warn", call.Args[1:], true
		}
	}
	return "", nil, false
}

// addField adds the name of the field that an argument is. It is made there, or before in the same
// function.
func (s *logSource) addField(fields map[string]bool, arg ast.Expr, decl ast.Decl) (isKnown bool) {
	switch arg := arg.(type) {
	case *ast.CallExpr:
		addFields(fields, arg)
		return isFieldCall(arg)
	case *ast.Ident:
		ast.Inspect(decl, func(n ast.Node) bool {
			assign, ok := n.(*ast.AssignStmt)
			if ok && len(assign.Lhs) == 1 && len(assign.Rhs) == 1 {
				if name, ok := assign.Lhs[0].(*ast.Ident); ok && name.Name == arg.Name && isFieldCall(assign.Rhs[0]) {
					addFields(fields, assign.Rhs[0])
					isKnown = true
				}
			}
			return true
		})
	}
	return isKnown
}

// isFieldCall reports whether an expression makes a field whose name can be read.
func isFieldCall(x ast.Expr) bool {
	fields := map[string]bool{}
	addFields(fields, x)
	return len(fields) > 0
}

// addFields adds the names of zap's fields that are made in a node of the source.
func addFields(fields map[string]bool, n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			switch f.Name {
			case "sessionTagOf":
				fields["session"] = true
			case "traceOf":
				fields["trace"] = true
			case "namespaceTagOf":
				fields["namespace"] = true
			}
		case *ast.SelectorExpr:
			if pkg, ok := f.X.(*ast.Ident); !ok || pkg.Name != "zap" {
				return true
			}
			if f.Sel.Name == "Error" {
				fields["error"] = true
			} else if name, ok := firstLiteral(call); ok {
				fields[name] = true
			}
		}
		return true
	})
}

func firstLiteral(call *ast.CallExpr) (string, bool) {
	if len(call.Args) == 0 {
		return "", false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}
