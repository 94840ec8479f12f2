package server

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	usernamesAtOnce = 16                     // profiles that one list asks for at a time
	usernamesWithin = 250 * time.Millisecond // a slow profile service does not hold a list up
)

// usernames are those of the profiles that are cached, or come quickly. Whoever has none is
// left out.
func (n *node) usernames(ctx context.Context, ids []string) map[string]string {
	if n.cfg.ProfilesURL == "" { // sessions know as much
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, usernamesWithin)
	defer cancel()
	names := make(map[string]string, len(ids))
	var mu sync.Mutex
	var asked errgroup.Group
	asked.SetLimit(usernamesAtOnce)
	for _, id := range ids {
		asked.Go(func() error {
			u, err := n.user(ctx, id)
			if err != nil {
				return nil //nolint:nilerr // the session's name is shown instead
			}
			mu.Lock()
			defer mu.Unlock()
			names[id] = u.Username
			return nil
		})
	}
	_ = asked.Wait() // none of them fails
	return names
}
