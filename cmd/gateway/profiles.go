package main

import (
	"context"
	"fmt"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/profiles"
)

// profileSettings say where users and characters come from.
type profileSettings struct {
	ProfilesURL   string `name:"profiles-url" placeholder:"URL" help:"The profile service: GET URL/users/{id}, GET and PUT URL/characters/{id}. Without it --dev makes users up, and else there are none."`
	ProfilesToken string `name:"profiles-token" placeholder:"TOKEN" help:"Sent to the profile service as a bearer token; better set as GATEWAY_PROFILES_TOKEN."`
}

// A profileSource knows users and their characters. Errors: profiles.ErrNotFound,
// UNAVAILABLE; of SaveCharacter also INVALID.
type profileSource interface {
	User(ctx context.Context, id string) (profiles.User, error)
	Character(ctx context.Context, id string) (profiles.Character, error)
	SaveCharacter(ctx context.Context, c profiles.Character) error
}

// source is the profile service, the demo world with dev, or noProfiles.
func (p profileSettings) source(dev bool) (profileSource, error) {
	switch {
	case p.ProfilesURL != "":
		u, err := profiles.NewUpstream(p.ProfilesURL, profiles.Config{Token: p.ProfilesToken})
		if err != nil {
			return nil, usageError{fmt.Errorf("--profiles-url: %w", err)}
		}
		return u, nil
	case dev:
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
