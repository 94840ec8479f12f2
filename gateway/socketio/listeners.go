package socketio

import (
	"reflect"
	"slices"
	"sync"

	"github.com/zishang520/engine.io/v2/events"
	"github.com/zishang520/socket.io-go-parser/v2/parser"
)

// A listenerList replaces the library's event emitter. It is a short list, which takes a tenth of
// the memory of the emitter's maps, because a socket has two or three listeners.
type listenerList struct {
	mu  sync.Mutex
	all []listener // replaced, never changed in place; guarded by mu
}

type listener struct {
	name events.EventName
	fn   events.Listener
	once bool
}

func (l *listenerList) addListeners(name events.EventName, once bool, fns []events.Listener) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fn := range fns {
		if fn != nil {
			l.all = append(slices.Clip(l.all), listener{name, fn, once})
		}
	}
	return nil
}

func (l *listenerList) On(n events.EventName, fns ...events.Listener) error {
	return l.addListeners(n, false, fns)
}

func (l *listenerList) AddListener(n events.EventName, fns ...events.Listener) error {
	return l.addListeners(n, false, fns)
}

func (l *listenerList) Once(n events.EventName, fns ...events.Listener) error {
	return l.addListeners(n, true, fns)
}

func (l *listenerList) allListeners() []listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

func (l *listenerList) Emit(n events.EventName, args ...any) {
	for _, x := range l.allListeners() {
		if x.name == n {
			if x.once && !l.RemoveListener(n, x.fn) {
				continue
			}
			x.fn(args...)
		}
	}
}

func (l *listenerList) removeWhere(drop func(listener) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make([]listener, 0, len(l.all))
	for _, x := range l.all {
		if !drop(x) {
			kept = append(kept, x)
		}
	}
	changed := len(kept) != len(l.all)
	l.all = kept
	return changed
}

func (l *listenerList) RemoveListener(n events.EventName, fn events.Listener) bool {
	ptr := reflect.ValueOf(fn).Pointer()
	return l.removeWhere(func(x listener) bool { return x.name == n && reflect.ValueOf(x.fn).Pointer() == ptr })
}

func (l *listenerList) RemoveAllListeners(n events.EventName) bool {
	return l.removeWhere(func(x listener) bool { return x.name == n })
}

func (l *listenerList) Listeners(n events.EventName) (fns []events.Listener) {
	for _, x := range l.allListeners() {
		if x.name == n {
			fns = append(fns, x.fn)
		}
	}
	return fns
}

func (l *listenerList) ListenerCount(n events.EventName) int { return len(l.Listeners(n)) }
func (l *listenerList) EventNames() (names []events.EventName) {
	for _, x := range l.allListeners() {
		if !slices.Contains(names, x.name) {
			names = append(names, x.name)
		}
	}
	return names
}
func (l *listenerList) GetMaxListeners() uint { return 0 }
func (l *listenerList) SetMaxListeners(uint)  {}
func (l *listenerList) Clear()                { l.removeWhere(func(listener) bool { return true }) }
func (l *listenerList) Len() int              { return len(l.EventNames()) }

// A libraryDecoder is the library's decoder of one client. Its packets are parsed before.
type libraryDecoder struct{ listenerList }

// Add passes a *parser.Packet on.
func (d *libraryDecoder) Add(v any) error {
	if p, ok := v.(*parser.Packet); ok {
		d.Emit("decoded", p)
	}
	return nil
}

// Destroy does nothing.
func (d *libraryDecoder) Destroy() {}
