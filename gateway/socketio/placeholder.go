package socketio

import (
	"bytes"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// arePlaceholdersValid reports whether each placeholder in a binary packet's JSON,
// {"_placeholder":true,"num":n}, names one of the packet's attachments. Clients close their
// connection over one that does not, so it must not be passed on to others.
func arePlaceholdersValid(data []byte, attachments int) bool {
	type nest struct {
		object bool
		name   string // of the member whose value comes next
		marked bool   // it has "_placeholder": true
		num    float64
	}
	var open []nest
	d := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return err == io.EOF
		}
		kind := token.Kind()
		if kind == '}' || kind == ']' {
			n := open[len(open)-1]
			if n.marked && (n.num < 0 || n.num >= float64(attachments) || n.num != float64(int(n.num))) {
				return false
			}
			open = open[:len(open)-1]
			continue
		}
		begins := kind == '{' || kind == '['
		if len(open) > 0 && open[len(open)-1].object {
			n := &open[len(open)-1]
			depth := d.StackDepth()
			if begins {
				depth--
			}
			if _, length := d.StackIndex(depth); length%2 == 1 {
				n.name = token.String()
				continue
			}
			switch n.name { // as in JavaScript, the last of two with one name counts
			case "_placeholder":
				n.marked = kind == 't'
			case "num":
				if n.num = -1; kind == '0' {
					n.num = token.Float()
				}
			}
		}
		if begins {
			open = append(open, nest{object: kind == '{', num: -1})
		}
	}
}
