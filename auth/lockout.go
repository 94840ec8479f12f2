package auth

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/clientaddr"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// LockoutConfig of a Lockout. The zero value works.
type LockoutConfig struct {
	// AccountFailures failed logins lock an account for AccountFor; 5 and a minute when zero.
	AccountFailures int
	AccountFor      time.Duration
	// AddressFailures failed logins lock an address for AddressFor; 10 and ten minutes when zero.
	AddressFailures int
	AddressFor      time.Duration
}

// A Lockout refuses logins of accounts and addresses that failed too often, on every node. A
// failure counts for as long as its lock would last. A login that succeeds clears the failures of
// its account, and not those of its address. Addresses count as they do for limits: IPv6 by /64.
//
// Logins that arrive at the same time all pass Check before the first of them has failed. The limit
// policy `login`, which is exact, bounds how many those are.
//
// The account is one that the provider has signed, as in a token that has expired. A token that
// only claims a name counts for its address alone, so that nobody can delay another's login by it.
type Lockout struct {
	rdb redis.UniversalClient
	cfg LockoutConfig
}

//go:embed count_failure.lua
var countFailureSource string

var countFailureScript = redisx.NewScript(countFailureSource)

const maxAccount = 128 // bytes of a user id

// NewLockout returns a lockout.
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

// A failureCounter counts the failed logins of an account or of an address.
type failureCounter struct {
	key   string
	scope string
	limit int
	lock  time.Duration
}

// countersOf returns the counters of a login; "" is no account.
func (l *Lockout) countersOf(account, addr string) []failureCounter {
	all := []failureCounter{{keys.Temp("login-failures", "address:"+clientaddr.Network(addr)), "ip", l.cfg.AddressFailures, l.cfg.AddressFor}}
	if account != "" {
		sum := sha256.Sum256([]byte(account)) // a token may claim any text
		all = append(all, failureCounter{
			keys.Temp("login-failures", "account:"+hex.EncodeToString(sum[:16])), "user", l.cfg.AccountFailures, l.cfg.AccountFor,
		})
	}
	return all
}

// Check returns a RATE_LIMITED fault while the account or the address is locked; account may be "".
// Any other error means that Redis did not answer.
func (l *Lockout) Check(ctx context.Context, account, addr string) error {
	counters := l.countersOf(account, addr)
	pipe := l.rdb.Pipeline()
	counts, left := make([]*redis.StringCmd, len(counters)), make([]*redis.DurationCmd, len(counters))
	for i, c := range counters {
		counts[i], left[i] = pipe.Get(ctx, c.key), pipe.PTTL(ctx, c.key)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, c := range counters {
		n, err := counts[i].Int()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case errors.Join(err, left[i].Err()) != nil:
			return fmt.Errorf("count failed logins: %w", errors.Join(err, left[i].Err()))
		}
		if wait := left[i].Val(); n >= c.limit && wait > 0 {
			return fault.ErrRateLimited.
				With("policy", "login").With("scope", c.scope).With("limit", c.limit).With("remaining", 0).
				With("windowMs", c.lock.Milliseconds()).With("retryAfterMs", wait.Milliseconds())
		}
	}
	return nil
}

// Failed counts a failed login; account may be "".
func (l *Lockout) Failed(ctx context.Context, account, addr string) error {
	var errs error
	for _, c := range l.countersOf(account, addr) {
		errs = errors.Join(errs, countFailureScript.Do(ctx, l.rdb, []string{c.key}, c.limit, c.lock.Milliseconds()).Err())
	}
	if errs != nil {
		return fmt.Errorf("count failed logins: %w", errs)
	}
	return nil
}

// Succeeded clears the failures of the account.
func (l *Lockout) Succeeded(ctx context.Context, account string) error {
	if err := l.rdb.Del(ctx, l.countersOf(account, "")[1].key).Err(); err != nil {
		return fmt.Errorf("count failed logins: %w", err)
	}
	return nil
}
