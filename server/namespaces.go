package server

import (
	"cmp"
	"maps"
	"regexp"
	"slices"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/adminui"
	"github.com/aeturnis/realtime/internal/usage"
)

// This file gives features namespaces of their own.

// namespaceRooms are the rooms of one namespace for a feature that is made before the gateway is.
// The node sets Namespace before anything runs.
type namespaceRooms struct{ *gateway.Namespace }

var namespaceName = regexp.MustCompile(`^/[A-Za-z0-9_-]{1,32}$`)

// maxNamespaces bounds the namespaces of features, and with them those of one connection.
const maxNamespaces = 16

// namespaceOf returns the namespace that a feature has of its own, or "".
func namespaceOf(f Feature) string {
	if own, ok := f.(Namespaced); ok {
		return own.Namespace()
	}
	return ""
}

// makeNamespaceRooms returns the rooms of each namespace that features have of their own. The error
// says which feature may not have its namespace.
func makeNamespaceRooms(features []Feature) (map[string]*namespaceRooms, error) {
	rooms := map[string]*namespaceRooms{}
	for _, f := range features {
		own, ok := f.(Namespaced)
		if !ok {
			continue
		}
		name := own.Namespace()
		switch {
		case name == "/":
			return nil, usage.Errorf("feature %T: %q is the main namespace: a feature without a method Namespace is served there", f, name)
		case name == adminui.Name:
			return nil, usage.Errorf("feature %T: the namespace %q is that of operators", f, name)
		case !namespaceName.MatchString(name):
			return nil, usage.Errorf("feature %T: %q is no namespace: it needs a slash, and 1 to 32 of A-Z, a-z, 0-9, _ and -", f, name)
		}
		rooms[name] = &namespaceRooms{}
	}
	if len(rooms) > maxNamespaces {
		return nil, usage.Errorf("the features have %d namespaces: at most %d are possible", len(rooms), maxNamespaces)
	}
	return rooms, nil
}

// checkEventNames returns an error when two events that clients may send have one name, or when a
// cast is in two namespaces: limits, metrics, logs and records of answers name an event by its name
// alone.
func checkEventNames(routes []event.Route, casts []event.Cast) error {
	own := gateway.OwnEvents()
	placeOf := map[string]string{}
	for _, r := range routes {
		before, isTaken := placeOf[r.Name]
		switch place := describeNamespace(r.Namespace); {
		case slices.Contains(own, r.Name):
			return usage.Errorf("event %s: the gateway serves it itself, in each namespace", r.Name)
		case isTaken:
			return usage.Errorf("event %s is served twice, in %s and in %s: a name is that of one event, in all namespaces", r.Name, before, place)
		default:
			placeOf[r.Name] = place
		}
	}
	placeOf = map[string]string{}
	for _, c := range casts {
		before, isTaken := placeOf[c.Name]
		place := describeNamespace(c.Namespace)
		if slices.Contains(own, c.Name) {
			return usage.Errorf("cast %s: the gateway sends or serves an event of that name itself, in each namespace", c.Name)
		}
		if isTaken && before != place {
			return usage.Errorf("cast %s is sent in %s and in %s: a name is that of one cast, in all namespaces", c.Name, before, place)
		}
		placeOf[c.Name] = place
	}
	return nil
}

// describeNamespace returns the name of an event's namespace.
func describeNamespace(name string) string { return cmp.Or(name, "/") }

// namespaces returns the names of the namespaces that features have of their own.
func (f *features) namespaces() []string { return slices.Sorted(maps.Keys(f.namespaceRooms)) }

// bindNamespaces gives the features their rooms.
func (f *features) bindNamespaces(g *gateway.Gateway) {
	for name, rooms := range f.namespaceRooms {
		rooms.Namespace = g.FindNamespace(name)
	}
}

// connectCodes returns the codes with which a CONNECT is refused only by what this node has, and
// their messages.
func (n *node) connectCodes() map[string]string {
	codes := n.backends.ConnectCodes()
	if len(n.features.namespaceRooms) == 0 {
		return codes
	}
	all := gateway.NamespaceCodes()
	maps.Copy(all, codes)
	return all
}
