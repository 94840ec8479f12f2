package trade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/aeturnis/realtime/keys"
)

const maxLockName = 256 // bytes

// Locker runs fn while it holds the lock of that name. fn's context ends when the lock is lost, and
// fence rises with every acquisition. Codes: LOCKED when another holder keeps the lock for too
// long, UNAVAILABLE when the locks' server does not answer. The errors of fn are returned as they
// are.
type Locker interface {
	Do(ctx context.Context, name string, holder Holder, fn func(ctx context.Context, fence int64) error) error
}

// A Holder says, for operators, who takes a lock and for what.
type Holder struct {
	Conn    string // the player's connection; "" where it is not known
	Purpose string // such as "gift 01J…"
}

// A ScriptLocker is a Locker whose locks may lie on the server of the trades. Then a settlement
// takes one round trip and no lease, because its script checks that no other holder has the lock.
// Only if there is one does the settlement wait for a lease.
type ScriptLocker interface {
	Locker
	// ScriptGuard returns Lua that defines enter and pass, see lock.Manager.ScriptGuard. It returns ""
	// when the locks lie on other servers.
	ScriptGuard() (lua string)
}

// noLease is the fence of a script that runs without a lease.
const noLease = ""

// runUnderLease runs settle while this process holds the lock of the trade's two users, with the
// fence of the lease. It returns settle's result even if the lease was lost meanwhile: a lease can
// run out at any moment, so settle's scripts must check the fence themselves.
func (c *core) runUnderLease(ctx context.Context, d settlement, settle func(ctx context.Context, fence string) error) error {
	name := tradeLockName(d.Trade)
	var result error
	hasRun := false
	err := c.locks.Do(ctx, name, Holder{d.conn, d.kind + " " + d.TradeID}, func(ctx context.Context, fence int64) error {
		hasRun = true
		result = settle(ctx, strconv.FormatInt(fence, 10))
		return result
	})
	switch {
	case hasRun:
		return result
	case err != nil:
		return wrapRedisError(err, name)
	}
	return errors.New("trade: the lock ran nothing")
}

// tradeLockName returns the name of the lock of the trade's two users.
func tradeLockName(t Trade) string { return pairLockName(t.Parties[0].UserID, t.Parties[1].UserID) }

// pairLockName returns the name of the lock of two users; their order does not matter. If the name
// would be too long for a lock, it is hashed.
func pairLockName(userID, otherID string) string {
	name := keys.TradeLock(userID, otherID)
	if len(name) > maxLockName {
		sum := sha256.Sum256([]byte(name))
		return "trade:" + hex.EncodeToString(sum[:20])
	}
	return name
}
