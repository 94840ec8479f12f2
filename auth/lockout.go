package auth

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// LockoutConfig of a Lockout; the zero value works.
type LockoutConfig struct {
	// AccountFailures lock an account for AccountFor: 5, a minute.
	AccountFailures int
	AccountFor      time.Duration
	// AddressFailures lock an address for AddressFor: 10, ten minutes.
	AddressFailures int
	AddressFor      time.Duration
}

// A Lockout turns away whose logins failed too often, on every node. A failure counts for
// as long as its lock would last. A login that succeeds clears its account, not its address. IPv6
// addresses count by their /64.
//
// Logins that are judged at the same time are each let through before any of them has failed; the policy
// `login`, which is exact, bounds how many those are.
//
// The account is the one that a token claims, so anybody may lock any account for a minute: that is
// the price of a lock by account, and its shortness the remedy.
type Lockout struct {
	rdb redis.UniversalClient
	cfg LockoutConfig
}

//go:embed count_failure.lua
var failedSource string

var failedScript = redis.NewScript(failedSource)

const maxAccount = 128 // bytes

// NewLockout makes one.
func NewLockout(rdb redis.UniversalClient, cfg LockoutConfig) *Lockout {
	if cfg.AccountFailures <= 0 {
		cfg.AccountFailures = 5
	}
	if cfg.AccountFor <= 0 {
		cfg.AccountFor = time.Minute
	}
	if cfg.AddressFailures <= 0 {
		cfg.AddressFailures = 10
	}
	if cfg.AddressFor <= 0 {
		cfg.AddressFor = 10 * time.Minute
	}
	return &Lockout{rdb: rdb, cfg: cfg}
}

// a counter is one of the two that a login is judged by.
type counter struct {
	key   string
	scope string
	limit int
	lock  time.Duration
}

// counters are those of a login; account "" is none.
func (l *Lockout) counters(account, addr string) []counter {
	all := []counter{{keys.Temp("login-failures", "address:"+network(addr)), "ip", l.cfg.AddressFailures, l.cfg.AddressFor}}
	if account != "" {
		sum := sha256.Sum256([]byte(account)) // anything may be claimed
		all = append(all, counter{
			keys.Temp("login-failures", "account:"+hex.EncodeToString(sum[:16])), "user", l.cfg.AccountFailures, l.cfg.AccountFor,
		})
	}
	return all
}

// Check returns a RATE_LIMITED fault while one of the two is locked; account may be "".
func (l *Lockout) Check(ctx context.Context, account, addr string) error {
	counters := l.counters(account, addr)
	pipe := l.rdb.Pipeline()
	counts, left := make([]*redis.StringCmd, len(counters)), make([]*redis.DurationCmd, len(counters))
	for i, c := range counters {
		counts[i], left[i] = pipe.Get(ctx, c.key), pipe.PTTL(ctx, c.key)
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error
	for i, c := range counters {
		n, err := counts[i].Int()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case errors.Join(err, left[i].Err()) != nil:
			return fmt.Errorf("failed logins: %w", errors.Join(err, left[i].Err()))
		}
		if wait := left[i].Val(); n >= c.limit && wait > 0 {
			return fault.ErrRateLimited.
				With("policy", "login").With("scope", c.scope).With("limit", c.limit).With("remaining", 0).
				With("windowMs", c.lock.Milliseconds()).With("retryAfterMs", wait.Milliseconds())
		}
	}
	return nil
}

// Failed counts a login that failed.
func (l *Lockout) Failed(ctx context.Context, account, addr string) error {
	var errs error
	for _, c := range l.counters(account, addr) {
		errs = errors.Join(errs, failedScript.Run(ctx, l.rdb, []string{c.key}, c.limit, c.lock.Milliseconds()).Err())
	}
	if errs != nil {
		return fmt.Errorf("failed logins: %w", errs)
	}
	return nil
}

// Succeeded forgets what failed for the account.
func (l *Lockout) Succeeded(ctx context.Context, account string) error {
	if err := l.rdb.Del(ctx, l.counters(account, "")[1].key).Err(); err != nil {
		return fmt.Errorf("failed logins: %w", err)
	}
	return nil
}

// network is what one customer is given: an IPv4 address, or the /64 of an IPv6 address.
func network(addr string) string {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return p.String()
}
