package adminui

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	maxUsersFile = 64 << 10 // bytes
	maxName      = 64       // bytes of a user's name
	maxPassword  = 72       // bytes; bcrypt looks at no more
	maxCost      = 14       // of a bcrypt hash: a second of CPU for each login
	loginsAtOnce = 2        // passwords that are compared at the same time
)

// Users are the operators who may log in: a file with a line "name:hash" for each, as `htpasswd -B`
// writes it. It is read at each use, so that it can be changed while a node runs.
type Users struct {
	path   string
	atOnce chan struct{}
	nobody []byte // the hash of a password that nobody has
}

// OpenUsers reads the file once. The error says what is wrong with it.
func OpenUsers(path string) (*Users, error) {
	u := &Users{path: path, atOnce: make(chan struct{}, loginsAtOnce)}
	all, err := u.read()
	if err != nil {
		return nil, err
	}
	cost := bcrypt.DefaultCost
	for _, hash := range all {
		cost, _ = bcrypt.Cost(hash) // read has looked
	}
	if u.nobody, err = bcrypt.GenerateFromPassword([]byte("nobody"), cost); err != nil {
		return nil, err
	}
	return u, nil
}

// read returns the hashes of all users, by name.
func (u *Users) read() (map[string][]byte, error) {
	f, err := os.Open(u.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxUsersFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxUsersFile {
		return nil, fmt.Errorf("%s has more than %d bytes", u.path, maxUsersFile)
	}
	all := map[string][]byte{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		cost, err := bcrypt.Cost([]byte(hash))
		switch {
		case name == "" || len(name) > maxName:
			return nil, fmt.Errorf("%s: line %d: a name has 1 to %d bytes", u.path, number, maxName)
		case err != nil:
			return nil, fmt.Errorf("%s: line %d: no bcrypt hash, such as `htpasswd -nB` writes", u.path, number)
		case cost > maxCost:
			return nil, fmt.Errorf("%s: line %d: the cost of the hash is %d, and may be %d", u.path, number, cost, maxCost)
		}
		all[name] = []byte(hash)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s names nobody", u.path)
	}
	return all, lines.Err()
}

// errWrongPassword says that a name and a password do not fit.
var errWrongPassword = errors.New("adminui: wrong name or password")

// login returns the print of a user's password, or errWrongPassword after as long as a right one
// takes. Other errors are those of the file and of ctx.
func (u *Users) login(ctx context.Context, name, password string) (passwordPrint string, err error) {
	all, err := u.read()
	if err != nil {
		return "", err
	}
	select {
	case u.atOnce <- struct{}{}:
		defer func() { <-u.atOnce }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	hash, isKnown := all[name]
	if !isKnown {
		hash = u.nobody
	}
	err = bcrypt.CompareHashAndPassword(hash, []byte(password[:min(len(password), maxPassword)]))
	if err != nil || !isKnown || len(password) > maxPassword {
		return "", errWrongPassword
	}
	return printOf(hash), nil
}

// holds reports whether a user still has the password of a print.
func (u *Users) holds(name, passwordPrint string) bool {
	all, err := u.read()
	hash, ok := all[name]
	return err == nil && ok && printOf(hash) == passwordPrint
}

// printOf returns a hash of a hash, which tells when the password is another one.
func printOf(hash []byte) string {
	sum := sha256.Sum256(hash)
	return hex.EncodeToString(sum[:8])
}
