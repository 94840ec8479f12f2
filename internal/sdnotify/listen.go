package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

const (
	firstDescriptor = 3  // SD_LISTEN_FDS_START
	maxDescriptors  = 16 // more than any unit passes
)

// TakeListeners returns the sockets that systemd has opened for this process (sd_listen_fds(3)), by
// the FileDescriptorName= of their units. It may be called once.
func TakeListeners(getenv func(string) string) (map[string]net.Listener, error) {
	pid, count, names := getenv("LISTEN_PID"), getenv("LISTEN_FDS"), strings.Split(getenv("LISTEN_FDNAMES"), ":")
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxDescriptors {
		return nil, fmt.Errorf("LISTEN_FDS=%q: must be 0 to %d", count, maxDescriptors)
	}
	listeners := make(map[string]net.Listener, n)
	closeAll := func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}
	for i := range n {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		file := os.NewFile(uintptr(firstDescriptor+i), name)
		l, err := net.FileListener(file)
		_ = file.Close() // FileListener has a copy
		if err != nil {
			closeAll()
			return nil, fmt.Errorf("socket %d %q of systemd: %w", i, name, err)
		}
		if listeners[name] != nil {
			_ = l.Close()
			closeAll()
			return nil, fmt.Errorf("two sockets of systemd are called %q: set FileDescriptorName=", name)
		}
		listeners[name] = l
	}
	return listeners, nil
}
