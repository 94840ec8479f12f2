// Package apikeys has the keys of the server API: which programs may call it, and what each may do.
//
// The file of keys has one key a line, as JSON or YAML, with the key's hash in place of the key:
//
//	{"name": "shop", "sha256": "5feceb66…", "scopes": ["cast", "sessions"], "limit": "3000/1s"}
//
// While a key is changed, the file holds the old and the new one under the same name.
package apikeys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gopkg.in/yaml.v3"
)

const (
	maxFile = 1 << 20 // bytes of the file of keys
	maxKeys = 1000
	maxKey  = 256 // bytes of a key that is presented

	prefix = "gwk_" // with which every key begins, so that scanners for leaked secrets find it
)

// Scopes are what a key may be allowed.
var Scopes = []string{"cast", "connections", "presence", "history", "sessions", "moderation", "goods", "limits"}

// A Key is one line of the file.
type Key struct {
	Name   string
	Hash   [sha256.Size]byte
	Scopes []string
	Limit  string // "3000/1s" bounds the calls with this key, on all nodes; "" does not
}

// Allows reports whether the key has a scope.
func (k *Key) Allows(scope string) bool { return slices.Contains(k.Scopes, scope) }

// line is a key as the file has it.
type line struct {
	Name   string   `yaml:"name"`
	SHA256 string   `yaml:"sha256"`
	Scopes []string `yaml:"scopes,flow"`
	Limit  string   `yaml:"limit"`
}

var keyName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

// Create makes a key. It returns the key, which is kept nowhere, and its line for the file.
func Create(name string, scopes []string, limit string, checkLimit func(string) error) (key, fileLine string, err error) {
	key = prefix + strings.ToLower(rand.Text()+rand.Text())
	hash := sha256.Sum256([]byte(key))
	var b strings.Builder
	fmt.Fprintf(&b, `{"name": %q, "sha256": "%s", "scopes": [`, name, hex.EncodeToString(hash[:]))
	for i, s := range scopes {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", s)
	}
	b.WriteString("]")
	if limit != "" {
		fmt.Fprintf(&b, `, "limit": %q`, limit)
	}
	b.WriteString("}")
	if _, err := parseLine([]byte(b.String()), checkLimit); err != nil {
		return "", "", err
	}
	return key, b.String(), nil
}

// parseLine reads one line of the file. Its errors quote nothing of the line but names.
func parseLine(text []byte, checkLimit func(string) error) (k Key, err error) {
	var l line
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&l); err != nil {
		return k, errors.New("not an object with name, sha256, scopes and limit")
	}
	hash, err := hex.DecodeString(l.SHA256)
	switch {
	case !keyName.MatchString(l.Name):
		return k, errors.New("name must be 1 to 64 of a-z, 0-9, _, . and -")
	case err != nil || len(hash) != sha256.Size:
		return k, fmt.Errorf("%s: sha256 must be the 64 hexadecimal digits of the key's hash", l.Name)
	case len(l.Scopes) == 0:
		return k, fmt.Errorf("%s: scopes must name one of %s", l.Name, strings.Join(Scopes, ", "))
	}
	for _, s := range l.Scopes {
		if !slices.Contains(Scopes, s) {
			return k, fmt.Errorf("%s: there is no scope %q: there are %s", l.Name, s, strings.Join(Scopes, ", "))
		}
	}
	if l.Limit != "" {
		if err := checkLimit(l.Limit); err != nil {
			return k, fmt.Errorf("%s: limit: %w", l.Name, err)
		}
	}
	return Key{Name: l.Name, Hash: [sha256.Size]byte(hash), Scopes: l.Scopes, Limit: l.Limit}, nil
}

// parse reads a file of keys.
func parse(text []byte, checkLimit func(string) error) (keys []Key, err error) {
	number, seen := 0, map[[sha256.Size]byte]bool{}
	for raw := range bytes.Lines(text) {
		number++
		raw = bytes.TrimSpace(raw)
		raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("- ")))
		if len(raw) == 0 || raw[0] == '#' {
			continue
		}
		k, err := parseLine(raw, checkLimit)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", number, err)
		case seen[k.Hash]:
			return nil, fmt.Errorf("line %d: %s: the same key stands in two lines", number, k.Name)
		case len(keys) == maxKeys:
			return nil, fmt.Errorf("there are more than %d keys", maxKeys)
		}
		seen[k.Hash] = true
		keys = append(keys, k)
	}
	return keys, nil
}

// A Ring has the keys of a file. Its methods may be called from any goroutine.
type Ring struct {
	path       string
	checkLimit func(string) error
	keys       atomic.Pointer[[]Key]
	stamp      atomic.Pointer[stamp] // of the file as it was read last
}

// A stamp changes when a file does.
type stamp struct {
	modified time.Time
	size     int64
}

// Open reads a file of keys. checkLimit judges the limit of a key.
func Open(path string, checkLimit func(string) error) (*Ring, error) {
	r := &Ring{path: path, checkLimit: checkLimit}
	return r, r.Reload()
}

// Reload reads the file again. After an error the old keys stay.
func (r *Ring) Reload() error {
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		r.stamp.Store(&stamp{info.ModTime(), info.Size()})
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s has more than %d bytes", r.path, maxFile)
	}
	keys, err := parse(text, r.checkLimit)
	if err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	r.keys.Store(&keys)
	return nil
}

// HasChanged reports whether the file is another one than was read last.
func (r *Ring) HasChanged() bool {
	info, err := os.Stat(r.path)
	if err != nil {
		return false // it is being replaced
	}
	last := r.stamp.Load()
	return last == nil || !last.modified.Equal(info.ModTime()) || last.size != info.Size()
}

// Len returns how many keys there are.
func (r *Ring) Len() int { return len(*r.keys.Load()) }

// Find returns the line of a key, or nil. How long it takes says nothing about the keys.
func (r *Ring) Find(presented string) (found *Key) {
	if len(presented) > maxKey {
		return nil
	}
	hash := sha256.Sum256([]byte(presented))
	all := *r.keys.Load()
	for i := range all {
		if subtle.ConstantTimeCompare(all[i].Hash[:], hash[:]) == 1 {
			found = &all[i]
		}
	}
	return found
}
