package socketio

import (
	"reflect"
	"slices"
	"sync"

	"github.com/zishang520/engine.io/v2/events"
	"github.com/zishang520/socket.io-go-parser/v2/parser"
)

// shortList is the library's event emitter as a short list: a tenth of the memory of its
// maps, for sockets that have two or three listeners.
type shortList struct {
	mu  sync.Mutex
	fns []listener // replaced, never changed in place; guarded by mu
}

type listener struct {
	name events.EventName
	fn   events.Listener
	once bool
}

func (l *shortList) add(name events.EventName, once bool, fns []events.Listener) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fn := range fns {
		if fn != nil {
			l.fns = append(slices.Clip(l.fns), listener{name, fn, once})
		}
	}
	return nil
}

func (l *shortList) On(n events.EventName, fns ...events.Listener) error { return l.add(n, false, fns) }

func (l *shortList) AddListener(n events.EventName, fns ...events.Listener) error {
	return l.add(n, false, fns)
}

func (l *shortList) Once(n events.EventName, fns ...events.Listener) error {
	return l.add(n, true, fns)
}

func (l *shortList) all() []listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fns
}

func (l *shortList) Emit(n events.EventName, args ...any) {
	for _, x := range l.all() {
		if x.name == n {
			if x.once && !l.RemoveListener(n, x.fn) {
				continue
			}
			x.fn(args...)
		}
	}
}

func (l *shortList) remove(drop func(listener) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make([]listener, 0, len(l.fns))
	for _, x := range l.fns {
		if !drop(x) {
			kept = append(kept, x)
		}
	}
	changed := len(kept) != len(l.fns)
	l.fns = kept
	return changed
}

func (l *shortList) RemoveListener(n events.EventName, fn events.Listener) bool {
	ptr := reflect.ValueOf(fn).Pointer()
	return l.remove(func(x listener) bool { return x.name == n && reflect.ValueOf(x.fn).Pointer() == ptr })
}

func (l *shortList) RemoveAllListeners(n events.EventName) bool {
	return l.remove(func(x listener) bool { return x.name == n })
}

func (l *shortList) Listeners(n events.EventName) (fns []events.Listener) {
	for _, x := range l.all() {
		if x.name == n {
			fns = append(fns, x.fn)
		}
	}
	return fns
}

func (l *shortList) ListenerCount(n events.EventName) int { return len(l.Listeners(n)) }
func (l *shortList) EventNames() (names []events.EventName) {
	for _, x := range l.all() {
		if !slices.Contains(names, x.name) {
			names = append(names, x.name)
		}
	}
	return names
}
func (l *shortList) GetMaxListeners() uint { return 0 }
func (l *shortList) SetMaxListeners(uint)  {}
func (l *shortList) Clear()                { l.remove(func(listener) bool { return true }) }
func (l *shortList) Len() int              { return len(l.EventNames()) }

// libraryDecoder is the library's decoder of one client: packets come in parsed.
type libraryDecoder struct{ shortList }

// Add passes a *parser.Packet on.
func (d *libraryDecoder) Add(v any) error {
	if p, ok := v.(*parser.Packet); ok {
		d.Emit("decoded", p)
	}
	return nil
}

// Destroy has nothing to do.
func (d *libraryDecoder) Destroy() {}
