// Package sdnotify tells systemd how a service of Type=notify is (sd_notify(3)).
package sdnotify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// What Notify tells.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	alive    = "WATCHDOG=1"
)

// Status says in words what the service does, for `systemctl status`.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// Reloading says that the settings are being read again, until Ready.
func Reloading() string {
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonicMicroseconds())
}

// A Notifier tells the service manager. A nil one tells nobody.
type Notifier struct {
	socket   string
	watchdog time.Duration // 0: systemd watches nothing
}

// FromEnvironment returns the notifier of the variables that systemd sets, or nil.
func FromEnvironment(getenv func(string) string) *Notifier {
	socket := getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	n := &Notifier{socket: socket}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if pid := getenv("WATCHDOG_PID"); err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

// Notify sends what has changed. The error says that systemd did not take it.
func (n *Notifier) Notify(states ...string) error {
	if n == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("sd_notify: %w", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // a Unix socket has one
	if _, err := conn.Write([]byte(strings.Join(states, "\n"))); err != nil {
		return fmt.Errorf("sd_notify: %w", err)
	}
	return nil
}

// Watch tells systemd three times within WatchdogSec that the service lives, for as long as isAlive
// says so, until ctx ends. While a call of isAlive does not return, nothing is told; then systemd
// ends the service and starts it anew.
func (n *Notifier) Watch(ctx context.Context, isAlive func() bool) {
	if n == nil || n.watchdog <= 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 3)
	defer tick.Stop()
	for {
		if isAlive() {
			_ = n.Notify(alive) // the next one may come through
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
