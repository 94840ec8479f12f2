package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/keys"
)

// errFoundEnough ends a scan.
var errFoundEnough = errors.New("sessions: found enough")

// FindByHash returns the living sessions whose hash (identity.SessionHash) begins with these
// digits, at most most, ordered by hash. It scans the whole keyspace, so it is for operators.
// Errors: those of Redis.
func (s *Store) FindByHash(ctx context.Context, digits string, most int) ([]Session, error) {
	var mu sync.Mutex
	var ids []string // guarded by mu
	scan := func(pattern, kind, prefix, idPrefix string) error {
		return s.scanKeys(ctx, pattern, kind, func(page []string) error {
			for _, key := range page {
				id := idPrefix + strings.TrimPrefix(key, prefix)
				if !isKnownID(id) || !strings.HasPrefix(identity.SessionHash(id), digits) {
					continue
				}
				mu.Lock()
				ids = append(ids, id)
				isEnough := len(ids) >= most
				mu.Unlock()
				if isEnough {
					return errFoundEnough
				}
			}
			return nil
		})
	}
	err := scan(keys.Session("*"), "hash", keys.Session(""), "")
	if err == nil {
		err = scan(keys.ExpressSession("*"), "string", keys.ExpressSession(""), ExpressID(""))
	}
	if err != nil && !errors.Is(err, errFoundEnough) {
		return nil, fmt.Errorf("find a session: %w", err)
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(identity.SessionHash(a), identity.SessionHash(b)) })
	var found []Session
	for _, id := range slices.Compact(ids) {
		session, err := s.Get(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		default:
			found = append(found, session)
		}
	}
	return found, nil
}
