package lock

import (
	"context"
	"errors"
	"slices"
)

// DoAll runs fn while it holds several locks, each name once. It acquires them in the order of
// their names, so that two callers never wait for each other in a circle. opt applies to each
// lock. The context of fn ends when one of the leases ends; leases is in the order of the names.
//
// Errors: those of Do, and ErrBadOptions if there is no name.
func (m *Manager) DoAll(ctx context.Context, names []string, opt Options, fn func(ctx context.Context, leases []*Lease) error) error {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 {
		return ErrBadOptions
	}
	return m.doAllNested(ctx, names, nil, opt, fn)
}

func (m *Manager) doAllNested(ctx context.Context, names []string, held []*Lease, opt Options, fn func(context.Context, []*Lease) error) error {
	if len(names) == 0 {
		return fn(ctx, held)
	}
	err := m.Do(ctx, names[0], opt, func(ctx context.Context, l *Lease) error {
		return m.doAllNested(ctx, names[1:], append(held, l), opt, fn)
	})
	// If an outer lease is lost, the wait for an inner lock ends with Canceled: name the reason.
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && errors.Is(cause, ErrLost) {
		return errors.Join(cause, err)
	}
	return err
}
