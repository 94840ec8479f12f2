package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/profiles"
	"github.com/aeturnis/realtime/internal/redisdial"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// A profileSource knows users and their characters. Errors: profiles.ErrNotFound,
// UNAVAILABLE; of SaveCharacter also INVALID.
type profileSource interface {
	User(ctx context.Context, id string) (profiles.User, error)
	Character(ctx context.Context, id string) (profiles.Character, error)
	SaveCharacter(ctx context.Context, c profiles.Character) error
}

// newProfileSource returns the profile service, the demo world with Dev, or noProfiles.
func (c *Config) newProfileSource() (profileSource, error) {
	switch {
	case c.ProfilesURL != "":
		cfg := profiles.Config{Token: c.ProfilesToken}
		if c.ProfilesTokenFile != "" {
			cfg.ReadToken = c.readProfilesToken
			var err error
			if cfg.Token, err = c.readProfilesToken(); err != nil {
				return nil, err
			}
		}
		u, err := profiles.NewUpstream(c.ProfilesURL, cfg)
		if err != nil {
			return nil, usage.Errorf("--profiles-url: %w", err)
		}
		return u, nil
	case c.Dev:
		return profiles.NewDemo(), nil
	}
	return noProfiles{}, nil
}

// readProfilesToken reads the token of ProfilesTokenFile.
func (c *Config) readProfilesToken() (string, error) {
	if c.ProfilesToken != "" {
		return "", usage.Errorf("--profiles-token and --profiles-token-file exclude each other")
	}
	return redisdial.ReadSecret("--profiles-token-file", c.ProfilesTokenFile)
}

// noProfiles is the source of a gateway that was given none: nobody is known.
type noProfiles struct{}

// User finds nobody.
func (noProfiles) User(context.Context, string) (profiles.User, error) {
	return profiles.User{}, profiles.ErrNotFound
}

// Character finds nobody.
func (noProfiles) Character(context.Context, string) (profiles.Character, error) {
	return profiles.Character{}, profiles.ErrNotFound
}

// SaveCharacter can store nothing.
func (noProfiles) SaveCharacter(context.Context, profiles.Character) error {
	return fault.ErrNotFound
}

// staleProfile is how long after its TTL a profile is served when the source fails.
const staleProfile = time.Hour

// profileReader reads users and characters from the source, through the cache.
type profileReader struct {
	source profileSource
	cache  *cache.Manager
	ttl    time.Duration
}

// cacheOptions are those of everything that the source knows.
func (p *profileReader) cacheOptions() cache.Options {
	return cache.Options{TTL: p.ttl, RefreshThreshold: 0.1, StaleFor: staleProfile, SoftTimeout: time.Second, LoadTimeout: 5 * time.Second}
}

// readUser returns a user's profile. Errors: NOT_FOUND, UNAVAILABLE.
func (p *profileReader) readUser(ctx context.Context, id string) (profiles.User, error) {
	if !profiles.ValidID(id) {
		return profiles.User{}, fault.ErrNotFound
	}
	return cache.Aside(ctx, p.cache, keys.User(id), func(ctx context.Context) (profiles.User, error) {
		return p.source.User(ctx, id)
	}, p.cacheOptions())
}

// readCharacter returns a character. Errors: NOT_FOUND, UNAVAILABLE.
func (p *profileReader) readCharacter(ctx context.Context, id string) (profiles.Character, error) {
	if !profiles.ValidID(id) {
		return profiles.Character{}, fault.ErrNotFound
	}
	return cache.Aside(ctx, p.cache, keys.Character(id), func(ctx context.Context) (profiles.Character, error) {
		return p.source.Character(ctx, id)
	}, p.cacheOptions())
}

// saveCharacter stores a character with the source, then in the cache.
func (p *profileReader) saveCharacter(ctx context.Context, c profiles.Character) error {
	return cache.WriteThrough(ctx, p.cache, keys.Character(c.CharacterID), c, p.source.SaveCharacter, p.ttl+staleProfile)
}

// breakerState returns the state of the breaker before the profile service; ok is false where there
// is none.
func (p *profileReader) breakerState() (state string, ok bool) {
	u, ok := p.source.(*profiles.Upstream)
	if !ok {
		return "", false
	}
	return u.BreakerState(), true
}

const (
	usernamesAtOnce = 16                     // profiles that one list asks for at a time
	usernamesWithin = 250 * time.Millisecond // a slow profile service does not hold a list up
)

// readUsernames returns the names of the profiles that are cached, or come quickly, by user id.
// Users without one are left out.
func (p *profileReader) readUsernames(ctx context.Context, ids []string) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, usernamesWithin)
	defer cancel()
	names := make(map[string]string, len(ids))
	var mu sync.Mutex
	var asked errgroup.Group
	asked.SetLimit(usernamesAtOnce)
	for _, id := range ids {
		asked.Go(func() error {
			u, err := p.readUser(ctx, id)
			if err != nil {
				return nil //nolint:nilerr // the session's name is shown instead
			}
			mu.Lock()
			defer mu.Unlock()
			names[id] = identity.DisplayName(u.Username, id) // what others wrote into the cache, too
			return nil
		})
	}
	_ = asked.Wait() // none of them fails
	return names
}

// presenceUsernames returns the names that presence shows. Without a profile service it returns
// none, because sessions know as much.
func (n *node) presenceUsernames(ctx context.Context, ids []string) map[string]string {
	if n.cfg.ProfilesURL == "" {
		return nil
	}
	return n.profiles.readUsernames(ctx, ids)
}

// profileOwners asks the profile service which user owns a character.
type profileOwners struct{ source profileSource }

// Owns reports whether the character is the user's.
func (o profileOwners) Owns(ctx context.Context, userID, characterID string) (bool, error) {
	c, err := o.source.Character(ctx, characterID)
	if errors.Is(err, profiles.ErrNotFound) {
		return false, nil
	}
	return err == nil && c.OwnerID == userID, err
}

// loginOwners knows the characters that logins named: the one that a user plays, or played last.
type loginOwners struct{ sessions *sessions.Store }

// Owns reports whether the character is the one of the user's login.
func (o loginOwners) Owns(ctx context.Context, userID, characterID string) (bool, error) {
	id, err := o.sessions.CharacterOf(ctx, userID)
	if errors.Is(err, sessions.ErrNotFound) {
		return false, nil
	}
	return err == nil && id == characterID, asUnavailable("session", err)
}

// characterOwners returns who knows which user owns a character: the profile service, if there is
// one. Without it, only the character that the login named is accepted, because a player who plays
// a character can give its goods away. With Dev it returns nil: players are believed.
func (n *node) characterOwners() gateway.Characters {
	switch {
	case n.cfg.ProfilesURL != "":
		return profileOwners{n.profiles.source}
	case n.cfg.Dev:
		return nil
	}
	return loginOwners{n.redis.sessions}
}
