// Package chaos holds the tests that trade through real gateways, each a process of its own, while
// processes are killed and stopped between any two of their commands to Redis, Redis is restarted, and
// connections are cut and delayed. After each blow everything must be settled within five seconds, the
// audit clean, every ok that a client saw in the ledger, no refusal in it, and what was not answered told
// by asking again.
//
//	make chaos            all of it, some minutes
//	go test ./internal/chaos   a short run
package chaos
