package spawn

import (
	"errors"
	"os/exec"
)

// ErrNotInstalled says that there is no server on PATH, and how to install one.
var ErrNotInstalled = errors.New("neither redis-server nor valkey-server is on PATH " +
	"(install one: apt install redis-server, or brew install redis, or dnf install valkey)")

// Find returns the path of the server program. The error is ErrNotInstalled.
func Find() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}
