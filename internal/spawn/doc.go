// Package spawn starts a redis-server (or valkey-server) as a child that does not outlive this
// process, and waits until it answers. The embedded server and the tests use it.
//
// On Linux the kernel kills the child when the thread that started it ends. So each child has a
// locked thread that starts it and waits for it, and kill -9 of this process ends the child too. On
// other systems the child ends when Stop or Kill is called.
package spawn
