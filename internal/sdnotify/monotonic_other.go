//go:build !linux

package sdnotify

// monotonicMicroseconds is for systemd, which runs on Linux alone.
func monotonicMicroseconds() int64 { return 0 }
