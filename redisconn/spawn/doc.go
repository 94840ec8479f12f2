// Package spawn starts a redis-server (or valkey-server) as a child that does not outlive
// us, and waits until it answers. The embedded default and the tests stand on it.
//
// On Linux the kernel kills the child when the thread that started it ends, so one locked
// thread starts each child and waits for it: kill -9 of this process takes the child with
// it. Elsewhere the child ends when Stop or Kill is called.
package spawn
