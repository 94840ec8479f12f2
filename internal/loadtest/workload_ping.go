package loadtest

import (
	"bytes"
	"context"
)

// ping is everyone asking session:ping.
type ping struct{ silent }

// silent is a talk's answers to what does not concern it.
type silent struct{}

func (silent) prepare(context.Context) error          { return nil }
func (silent) refused(*client, uint32, string)        {}
func (silent) told(*client, []byte)                   {}
func (silent) dropped(*client, uint32)                {}
func (silent) rejoin(context.Context, *client) error  { return nil }
func (silent) verdict(context.Context, *counts) error { return nil }

const pingEvent = `["session:ping",{}]`

func newPing(r *run) talk {
	r.speakers = r.clients
	return ping{}
}

func (ping) say(_ *client, _ uint32, dst []byte) ([]byte, int, uint32) {
	return append(dst, pingEvent...), 1, 0
}

func (ping) answered(_ *client, _ uint32, args []byte) bool { return toldTime(args) }

// toldTime is whether an answer has a server's time after the year 2001.
func toldTime(args []byte) bool {
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
