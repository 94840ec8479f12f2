package lock

import "errors"

// The errors of this package. Test for them with errors.Is: most are returned with a wrapping
// that names the lock and the cause.
var (
	// ErrTaken means that there is another holder, as Redis or this process knows, and the
	// caller did not want to wait (TryAcquire).
	ErrTaken = errors.New("lock: taken by another holder")
	// ErrTimeout means that Options.Wait, or the deadline of the context, is over. There was
	// another holder when Redis last answered.
	ErrTimeout = errors.New("lock: timed out waiting for another holder")
	// ErrUnavailable means that Redis, or the majority of several servers, did not answer in
	// time. Nothing is known about the lock.
	ErrUnavailable = errors.New("lock: redis unavailable")
	// ErrLost means that the lease ended before it was released: it expired, or its key in
	// Redis was deleted or overwritten.
	ErrLost = errors.New("lock: lease lost")
	// ErrMaxHold means that the lease was held for Options.MaxHold and cannot be extended.
	ErrMaxHold = errors.New("lock: held for longer than MaxHold")
	// ErrBadOptions means that the name or the options are invalid, a mistake of the caller.
	ErrBadOptions = errors.New("lock: invalid name or options")
)

// errReleased is what Extend returns after Release.
var errReleased = errors.New("lock: lease already released")
