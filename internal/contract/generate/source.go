package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/aeturnis/realtime/internal/contract"
)

// A sourceReader collects comments from Go files.
type sourceReader struct {
	files    *token.FileSet
	comments *contract.Comments
}

// withoutFaults are folders whose faults no player is shown by an event.
var withoutFaults = []string{"cmd", "docs", "examples", "internal", "node_modules", "server", "testdata"}

// readSource returns what the source below root says: about the types that travel and the
// functions that serve events in the folders of events, and the message of every fault.
func readSource(root string, folders []string) (*contract.Comments, error) {
	r := &sourceReader{token.NewFileSet(), &contract.Comments{
		Types: map[string]*contract.TypeComment{}, Handlers: map[string]string{}, Faults: map[string]string{},
	}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains(withoutFaults, d.Name())):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		return r.readFile(path, filepath.ToSlash(folder), isWithin(filepath.ToSlash(folder), folders))
	})
	return r.comments, errors.Join(err, r.readCalls(root))
}

// callsFolder has the server API, whose methods are documented like events.
const callsFolder = "internal/serverapi"

// readCalls notes what the source says about the calls of the server API.
func (r *sourceReader) readCalls(root string) error {
	files, err := filepath.Glob(filepath.Join(root, callsFolder, "*.go"))
	for _, path := range files {
		if !strings.HasSuffix(path, "_test.go") {
			err = errors.Join(err, r.readFile(path, callsFolder, true))
		}
	}
	return err
}

// isWithin reports whether a folder is one of those given, or below a feature's folder.
func isWithin(folder string, folders []string) bool {
	top, _, isNested := strings.Cut(folder, "/")
	return slices.Contains(folders, top) && (!isNested || top != "gateway")
}

// readFile notes the faults of a file and, where its folder has events, what it says about types
// that travel and functions that serve events.
func (r *sourceReader) readFile(path, folder string, hasEvents bool) error {
	f, err := parser.ParseFile(r.files, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	ast.Inspect(f, r.noteFault)
	if !hasEvents {
		return nil
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if isHandler(d) {
				r.comments.Handlers[folder+"."+receiverPrefix(d)+d.Name.Name] = oneParagraph(d.Doc)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					r.noteType(folder, d, s)
				case *ast.ValueSpec:
					if d.Tok == token.CONST {
						r.noteConstants(folder, s)
					}
				}
			}
		}
	}
	return nil
}

// commentOf returns the entry of a type, and makes it where there is none.
func (r *sourceReader) commentOf(folder, typeName string) *contract.TypeComment {
	name := contract.TypeName(contract.Module+folder, typeName)
	if r.comments.Types[name] == nil {
		r.comments.Types[name] = &contract.TypeComment{Fields: map[string]string{}}
	}
	return r.comments.Types[name]
}

// noteType notes a struct with JSON tags, or a named string.
func (r *sourceReader) noteType(folder string, d *ast.GenDecl, s *ast.TypeSpec) {
	doc := s.Doc
	if doc == nil && !d.Lparen.IsValid() {
		doc = d.Doc
	}
	switch t := s.Type.(type) {
	case *ast.Ident:
		if t.Name == "string" {
			r.commentOf(folder, s.Name.Name).Doc = oneParagraph(doc)
		}
	case *ast.StructType:
		fields, hasTags := fieldComments(t)
		if !hasTags {
			return
		}
		about := r.commentOf(folder, s.Name.Name)
		about.Doc, about.Fields = oneParagraph(doc), fields
	}
}

// fieldComments returns the comments of the fields that have JSON tags, by the fields' Go names.
func fieldComments(t *ast.StructType) (comments map[string]string, hasTags bool) {
	comments = map[string]string{}
	for _, f := range t.Fields.List {
		if f.Tag == nil || !strings.Contains(f.Tag.Value, "json:") {
			continue
		}
		hasTags = hasTags || len(f.Names) > 0
		comment := oneParagraph(f.Doc)
		if comment == "" {
			comment = oneParagraph(f.Comment)
		}
		for _, n := range f.Names {
			if comment != "" {
				comments[n.Name] = comment
			}
		}
	}
	return comments, hasTags
}

// noteConstants notes the values of a named string type.
func (r *sourceReader) noteConstants(folder string, s *ast.ValueSpec) {
	typ, ok := s.Type.(*ast.Ident)
	if !ok || typ.Name == "string" {
		return
	}
	for _, v := range s.Values {
		if text, ok := stringLiteral(v); ok {
			about := r.commentOf(folder, typ.Name)
			about.Values = append(about.Values, text)
		}
	}
}

// noteFault notes the code and the message of a call of fault.New. Of several messages for one code
// it keeps the first, or that of package fault itself.
func (r *sourceReader) noteFault(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 {
		return true
	}
	inFault := false
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); !ok || x.Name != "fault" || f.Sel.Name != "New" {
			return true
		}
	case *ast.Ident:
		if f.Name != "New" {
			return true
		}
		inFault = true
	default:
		return true
	}
	code, isLiteral := stringLiteral(call.Args[0])
	message, isToo := stringLiteral(call.Args[1])
	if isLiteral && isToo && (inFault || r.comments.Faults[code] == "") {
		r.comments.Faults[code] = message
	}
	return true
}

// isHandler tells whether a function has the shape of an event.Handler.
func isHandler(d *ast.FuncDecl) bool {
	in, out := d.Type.Params, d.Type.Results
	if out.NumFields() != 2 || in.NumFields() != 3 || len(in.List) < 2 {
		return false
	}
	if caller, ok := in.List[1].Type.(*ast.Ident); ok { // of the server API
		return caller.Name == "Caller"
	}
	player, ok := in.List[1].Type.(*ast.SelectorExpr)
	return ok && player.Sel.Name == "Player"
}

func receiverPrefix(d *ast.FuncDecl) string {
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

func stringLiteral(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// oneParagraph returns a comment without its line breaks.
func oneParagraph(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }
