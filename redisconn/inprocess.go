package redisconn

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// startInProcess runs miniredis on a loopback port. Other users of the machine can reach the port,
// so it requires a password, which the URL carries.
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
	// tickShare is how much longer than a tick the pause before the next one is: a tick visits every
	// key, and miniredis serves nothing meanwhile.
	tickShare = 20
)

// advanceClock moves the server's clock forward until quit is closed; its TTLs do not run by
// themselves.
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
