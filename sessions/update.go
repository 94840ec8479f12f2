package sessions

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/keys"
)

// UpdateCharacter sets the character that the user of a living session plays, and returns the
// session. It does not slide the session. The user's last character is another key, maybe on
// another server, and is written afterwards; if that fails, CharacterOf still finds the character
// while the session lives. The error is ErrNotFound when the session does not live, and an INVALID
// fault when characterID is not 1 to 128 bytes of printable UTF-8 without a space at either end.
func (s *Store) UpdateCharacter(ctx context.Context, id, characterID string) (Session, error) {
	if err := identity.CheckID("characterId", characterID); err != nil {
		return Session{}, err
	}
	if _, ok := cutExpressPrefix(id); ok {
		return s.rememberCharacter(ctx, id, characterID)
	}
	if !ValidID(id) {
		return Session{}, ErrNotFound
	}
	out, err := s.updateField(ctx, id, "characterId", characterID)
	if err != nil {
		return Session{}, err
	}
	_ = s.rdb.Set(ctx, keys.LastCharacter(out.UserID), characterID, 0).Err()
	return out, nil
}

// UpdateMetadata replaces the metadata of a living session and returns the session. It does not
// slide it. Texts that are too long are cut. It returns ErrNotFound when the session does not live.
func (s *Store) UpdateMetadata(ctx context.Context, id string, m Metadata) (Session, error) {
	if !ValidID(id) {
		return Session{}, ErrNotFound
	}
	text, err := json.Marshal(m.truncateValues(), json.Deterministic(true))
	if err != nil {
		return Session{}, fmt.Errorf("update session: metadata: %w", err)
	}
	return s.updateField(ctx, id, "metadata", string(text))
}

// updateField sets one field of a living session.
func (s *Store) updateField(ctx context.Context, id, field, value string) (Session, error) {
	args := []any{field, value}
	for _, f := range hashFields {
		args = append(args, f)
	}
	reply, err := updateScript.Do(ctx, s.rdb, []string{keys.Session(id)}, args...).Slice()
	switch {
	case isWrongType(err):
		return Session{}, ErrNotFound
	case err != nil:
		return Session{}, fmt.Errorf("update session: %s: %w", field, err)
	}
	left, _ := reply[0].(int64)
	d := time.Duration(left) * time.Millisecond
	if left < 0 {
		d = time.Duration(left) // as PTTL says it: -1 is no expiry, -2 is no key
	}
	if out, ok := s.decodeHash(id, reply[1:], d); ok {
		return out, nil
	}
	return Session{}, ErrNotFound
}
