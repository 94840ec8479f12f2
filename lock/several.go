package lock

import (
	"context"
	"errors"
	"slices"
)

// DoAll runs fn while holding several locks, each name once. They are acquired in one order, by name, so two
// callers never wait for each other in a circle; opt holds for each of them. fn's context ends when one of
// the leases does; the leases come in the order of their names. Errors: those of Do.
func (m *Manager) DoAll(ctx context.Context, names []string, opt Options, fn func(ctx context.Context, leases []*Lease) error) error {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 {
		return ErrBadOptions
	}
	return m.nest(ctx, names, nil, opt, fn)
}

func (m *Manager) nest(ctx context.Context, names []string, held []*Lease, opt Options, fn func(context.Context, []*Lease) error) error {
	if len(names) == 0 {
		return fn(ctx, held)
	}
	err := m.Do(ctx, names[0], opt, func(ctx context.Context, l *Lease) error {
		return m.nest(ctx, names[1:], append(held, l), opt, fn)
	})
	// An outer lease that was lost ends the wait for an inner one: that is why, not the caller.
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && errors.Is(cause, ErrLost) {
		return errors.Join(cause, err)
	}
	return err
}
