package lock

import (
	"errors"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/fault"
)

// What may come of an acquisition or a lease; find out with errors.Is. Uncaught, they are
// shown to a player as the faults that they wrap.
var (
	// ErrTaken: somebody else holds it, as Redis or this process knows, and Wait was negative. LOCKED.
	ErrTaken = fmt.Errorf("lock: taken: %w", fault.ErrLocked)
	// ErrTimeout: somebody else held it when this was last heard of, and Wait, or the context's deadline, is over. LOCKED.
	ErrTimeout = fmt.Errorf("lock: still taken after waiting: %w", fault.ErrLocked)
	// ErrUnavailable: Redis, or a majority of several, does not answer, or not before Wait or the context's deadline is
	// over. UNAVAILABLE.
	ErrUnavailable = fmt.Errorf("lock: unavailable: %w", fault.Unavailable("lock", time.Second, nil))
	// ErrLost: the lease ended before it was released. UNAVAILABLE.
	ErrLost = fmt.Errorf("lock: lost: %w", fault.Unavailable("lock", time.Second, nil))
	// ErrMaxHold: the lease was held for MaxHold, and is not extended any more. TIMEOUT.
	ErrMaxHold = fmt.Errorf("lock: held for too long: %w", fault.ErrTimeout)
	// ErrBadOptions: a mistake of the caller's.
	ErrBadOptions = errors.New("lock: bad name or options")
)
