package spawn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Ready waits until the child answers on network ("tcp" or "unix") and addr. It fails when the
// child ends, when ctx ends, or when another process answers there.
func (p *Process) Ready(ctx context.Context, network, addr string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		pid, err := readProcessID(ctx, network, addr)
		switch {
		case err == nil && (pid == p.Pid() || pid == 0):
			return nil
		case err == nil:
			return fmt.Errorf("process %d answers on %s, not our %d", pid, addr, p.Pid())
		}
		last = err
		select {
		case <-p.done:
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("no answer on %s: %w (%w)", addr, ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// readProcessID returns the process id of the server that answers, 0 when it requires a password
// first.
func readProcessID(ctx context.Context, network, addr string) (int, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(c, "PING\r\nINFO server\r\n"); err != nil {
		return 0, err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	switch {
	case err != nil:
		return 0, err
	case strings.HasPrefix(line, "-NOAUTH"):
		return 0, nil
	case strings.HasPrefix(line, "-LOADING"):
		return 0, fmt.Errorf("still loading")
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if id, ok := strings.CutPrefix(line, "process_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(id))
		}
	}
}
