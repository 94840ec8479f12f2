//go:build !crashhook

package server

// armCrashHook does nothing: only the builds of internal/chaos can kill themselves.
func (n *node) armCrashHook() error { return nil }
