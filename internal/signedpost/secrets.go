package signedpost

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

const (
	maxSecretFile = 64 << 10 // bytes of a file of secrets
	maxSecrets    = 5        // in one file
	minSecret     = 16       // bytes of one secret
	maxSecret     = 256
)

// Secrets are the secrets of a file, one a line; empty lines and those that begin with # are
// skipped. Its methods may be called from any goroutine.
type Secrets struct {
	path  string
	all   atomic.Pointer[[][]byte]
	stamp atomic.Pointer[fileStamp] // of the file as it was read last
}

// A fileStamp changes when a file does.
type fileStamp struct {
	modified time.Time
	size     int64
}

// OpenSecrets reads a file of secrets.
func OpenSecrets(path string) (*Secrets, error) {
	s := &Secrets{path: path}
	return s, s.Reload()
}

// FixedSecrets returns secrets that do not come from a file.
func FixedSecrets(secrets ...[]byte) *Secrets {
	s := &Secrets{}
	s.all.Store(&secrets)
	return s
}

// All returns the secrets. The caller must not change them.
func (s *Secrets) All() [][]byte { return *s.all.Load() }

// Reload reads the file again. After an error, which quotes no secret, the old secrets stay.
func (s *Secrets) Reload() error {
	if s.path == "" {
		return nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		s.stamp.Store(&fileStamp{info.ModTime(), info.Size()})
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxSecretFile {
		return fmt.Errorf("%s has more than %d bytes", s.path, maxSecretFile)
	}
	found, err := parseSecrets(text)
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	s.all.Store(&found)
	return nil
}

// HasChanged reports whether the file is another one than was read last.
func (s *Secrets) HasChanged() bool {
	if s.path == "" {
		return false
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return false // it is being replaced
	}
	last := s.stamp.Load()
	return last == nil || !last.modified.Equal(info.ModTime()) || last.size != info.Size()
}

func parseSecrets(text []byte) (found [][]byte, err error) {
	number := 0
	for raw := range bytes.Lines(text) {
		number++
		raw = bytes.TrimSpace(raw)
		switch {
		case len(raw) == 0 || raw[0] == '#':
			continue
		case len(raw) < minSecret || len(raw) > maxSecret:
			return nil, fmt.Errorf("line %d: a secret has %d to %d bytes", number, minSecret, maxSecret)
		case len(found) == maxSecrets:
			return nil, fmt.Errorf("there are more than %d secrets", maxSecrets)
		}
		found = append(found, bytes.Clone(raw))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no secret in it")
	}
	return found, nil
}
