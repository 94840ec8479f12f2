package redisconn

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// startInProcess runs miniredis on a loopback port. Other users of the machine can reach the
// port, so it wants a password, which the URL carries.
func startInProcess() (*Server, error) {
	m := miniredis.NewMiniRedis()
	password := rand.Text()
	m.RequireAuth(password)
	if err := m.Start(); err != nil {
		return nil, err
	}
	quit, ticking, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ticking)
		advanceClock(m.FastForward, quit)
	}()
	return &Server{
		kind: "miniredis", url: "redis://:" + password + "@" + m.Addr(), done: done,
		err: func() error {
			select {
			case <-done:
				return errors.New("miniredis was closed")
			default:
				return nil
			}
		},
		stop: func() {
			close(quit)
			<-ticking
			m.Close()
			close(done)
		},
	}, nil
}

const (
	minTick = 20 * time.Millisecond
	// tickShare is how many times as long as a tick took we wait for the next, because it
	// looks at every key and nothing else runs meanwhile.
	tickShare = 20
)

// advanceClock lets the server's time pass: its TTLs stand still by themselves.
func advanceClock(forward func(time.Duration), quit <-chan struct{}) {
	timer := time.NewTimer(minTick)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-quit:
			return
		case <-timer.C:
		}
		start := time.Now()
		forward(start.Sub(last))
		last = start
		timer.Reset(max(minTick, tickShare*time.Since(start)))
	}
}
