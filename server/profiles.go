package server

import (
	"context"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/profiles"
	"github.com/aeturnis/realtime/internal/usage"
)

// A profileSource knows users and their characters. Errors: profiles.ErrNotFound,
// UNAVAILABLE; of SaveCharacter also INVALID.
type profileSource interface {
	User(ctx context.Context, id string) (profiles.User, error)
	Character(ctx context.Context, id string) (profiles.Character, error)
	SaveCharacter(ctx context.Context, c profiles.Character) error
}

// profileSource is the profile service, the demo world with dev, or noProfiles.
func (c *Config) profileSource() (profileSource, error) {
	switch {
	case c.ProfilesURL != "":
		u, err := profiles.NewUpstream(c.ProfilesURL, profiles.Config{Token: c.ProfilesToken})
		if err != nil {
			return nil, usage.Errorf("--profiles-url: %w", err)
		}
		return u, nil
	case c.Dev:
		return profiles.NewDemo(), nil
	}
	return noProfiles{}, nil
}

// noProfiles is the source of a gateway that was told of none: nobody is known.
type noProfiles struct{}

func (noProfiles) User(context.Context, string) (profiles.User, error) {
	return profiles.User{}, profiles.ErrNotFound
}

func (noProfiles) Character(context.Context, string) (profiles.Character, error) {
	return profiles.Character{}, profiles.ErrNotFound
}

func (noProfiles) SaveCharacter(context.Context, profiles.Character) error {
	return fault.ErrNotFound
}
