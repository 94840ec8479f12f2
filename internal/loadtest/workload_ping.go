package loadtest

import (
	"bytes"
	"context"
)

// pingWorkload makes every client send session:ping.
type pingWorkload struct{ noopWorkload }

// noopWorkload has empty versions of the methods that a workload may not need.
type noopWorkload struct{}

func (noopWorkload) prepareClients(context.Context) error           { return nil }
func (noopWorkload) recordRefusal(*client, uint32, string)          {}
func (noopWorkload) checkPushedEvent(*client, []byte)               {}
func (noopWorkload) recordDropped(*client, uint32)                  {}
func (noopWorkload) rejoinRooms(context.Context, *client) error     { return nil }
func (noopWorkload) checkFinalState(context.Context, *counts) error { return nil }

const pingEvent = `["session:ping",{}]`

func newPing(r *run) workload {
	r.speakers = r.clients
	return pingWorkload{}
}

func (pingWorkload) appendEvent(_ *client, _ uint32, dst []byte) ([]byte, int, uint32) {
	return append(dst, pingEvent...), 1, 0
}

func (pingWorkload) checkAnswer(_ *client, _ uint32, args []byte) bool { return hasServerTime(args) }

// hasServerTime reports whether an answer has a serverTime of 13 digits, so in milliseconds and
// after the year 2001.
func hasServerTime(args []byte) bool {
	i := bytes.Index(args, keyTime)
	if i < 0 {
		return false
	}
	digits := 0
	for _, c := range args[i+len(keyTime):] {
		if c < '0' || c > '9' {
			break
		}
		digits++
	}
	return digits == 13
}
