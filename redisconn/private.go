package redisconn

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	dirPrefix = "gateway-redis-"
	stopGrace = 2 * time.Second
	// claimTime is how long a new directory may stay unlocked by its owner.
	claimTime = time.Minute
	maxSwept  = 100
)

// A privateDirectory is the directory of an embedded server. Its owner holds a lock on a file in
// it, which the kernel releases however the owner ends, so a later start can tell which directories
// were abandoned.
type privateDirectory struct {
	path string
	lock *os.File
}

func (p *privateDirectory) removeDirectory() {
	_ = os.RemoveAll(p.path) // what remains is removed by a later start
	_ = p.lock.Close()
}

// lockDirectory takes the lock of a directory; it fails when another process holds it.
func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "owner.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// removeAbandoned removes the directories in parent that killed owners left, if they are our
// user's.
func removeAbandoned(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*")) // the pattern is sound
	for i, dir := range dirs {
		st, err := os.Lstat(dir)
		if i >= maxSwept {
			return
		}
		if err != nil || !st.IsDir() || time.Since(st.ModTime()) < claimTime {
			continue
		}
		if owner, ok := st.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Getuid() {
			continue
		}
		if f, err := lockDirectory(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = f.Close()
		}
	}
}
