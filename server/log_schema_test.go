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
// logged, its levels and its fields. UPDATE_LOGS=1 writes the document anew.
func TestEveryLogMessageIsDocumented(t *testing.T) {
	t.Parallel()
	messages := map[string]*loggedMessage{}
	for _, folder := range []string{"../server", "../gateway", "../redisconn", "../auth"} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err == nil {
				addMessages(messages, file)
			}
			return err
		}))
	}
	require.Greater(t, len(messages), 40)
	var b strings.Builder
	b.WriteString("# Log messages\n\nEvery message of the gateway's log, with its levels and fields. Each line has `level`, `at`, `msg` and `node` besides. A message with `error` or\n" +
		"`cause` has it only where something failed. A constant in the source names the messages of [warnings](operations.md#warnings). This page is written by\n" +
		"`UPDATE_LOGS=1 go test ./server -run TestEveryLogMessageIsDocumented`, and compared with the source by that test.\n\n| message | level | fields |\n|---|---|---|\n")
	for _, text := range slices.Sorted(maps.Keys(messages)) {
		m := messages[text]
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
}

// addMessages adds the messages that the functions of a file log.
func addMessages(messages map[string]*loggedMessage, file *ast.File) {
	for _, decl := range file.Decls {
		ast.Inspect(decl, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			level, text := messageOf(call)
			if text == "" {
				return true
			}
			m := messages[text]
			if m == nil {
				m = &loggedMessage{map[string]bool{}, map[string]bool{}}
				messages[text] = m
			}
			m.levels[level] = true
			within := ast.Node(call)
			if call.Ellipsis.IsValid() { // the fields were gathered before, in this function
				within = decl
			}
			addFields(m.fields, within)
			return true
		})
	}
}

// messageOf returns the level and the message of a call of a logger, or "".
func messageOf(call *ast.CallExpr) (level, text string) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(method.X) {
		return "", ""
	}
	args := call.Args
	switch level = strings.ToLower(method.Sel.Name); level {
	case "debug", "info", "warn", "error":
	case "log":
		level, args = "info or debug", args[1:]
	default:
		return "", ""
	}
	if len(args) == 0 {
		return "", ""
	}
	literal, ok := args[0].(*ast.BasicLit)
	if !ok {
		return "", ""
	}
	text, _ = strconv.Unquote(literal.Value)
	return level, text
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

// addFields adds the names of zap's fields that are made in a node of the source.
func addFields(fields map[string]bool, n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			if f.Name == "sessionTagOf" {
				fields["session"] = true
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
