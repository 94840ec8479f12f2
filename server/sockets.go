package server

import (
	"maps"
	"net"

	"github.com/aeturnis/realtime/internal/usage"
)

// passedSockets are what systemd listens on for this process, by the name of the flag whose
// address they replace. It goes on listening while the process is restarted, so that clients wait
// and are not refused.
type passedSockets map[string]net.Listener

// namePassedSockets returns Config.Listeners by the names of flags. A single one without the name
// of a flag is that of --addr.
func namePassedSockets(listeners map[string]net.Listener) (passedSockets, error) {
	passed := passedSockets(maps.Clone(listeners))
	for name, l := range passed {
		switch name {
		case "addr", "admin-addr", "api-addr":
			continue
		}
		if len(passed) == 1 {
			return passedSockets{"addr": l}, nil
		}
		passed.close()
		return nil, usage.Errorf("socket activation: the socket %q is none of addr, admin-addr and api-addr: set FileDescriptorName=", name)
	}
	return passed, nil
}

// listenOn listens on the address of a flag, or returns the socket that was passed for it.
func (p passedSockets) listenOn(flag, addr string) (net.Listener, error) {
	if l := p[flag]; l != nil {
		delete(p, flag)
		return l, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, usage.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

// close closes the sockets that nothing listens on.
func (p passedSockets) close() {
	for _, l := range p {
		_ = l.Close()
	}
}
