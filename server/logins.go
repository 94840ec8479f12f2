package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/profiles"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// tokens are what POST /auth/login exchanges; nil takes none.
func (c *Config) tokens() (*auth.Tokens, error) {
	cfg := auth.TokenConfig{JWKS: c.JWTKeySet, Issuer: c.JWTIssuer, Audience: c.JWTAudience, Skew: c.JWTSkew}
	if c.JWTSecretFile == "" && c.JWTKeySet == "" {
		return nil, nil
	}
	if c.JWTSecretFile != "" {
		raw, err := os.ReadFile(c.JWTSecretFile)
		if err != nil {
			return nil, usage.Errorf("--jwt-secret-file: %w", err)
		}
		cfg.Secret = bytes.TrimRight(raw, "\r\n")
	}
	switch {
	case c.JWTSkew <= 0:
		return nil, usage.Errorf("--jwt-skew must be positive")
	case c.JWTSecretFile != "" && c.JWTKeySet != "":
		return nil, usage.Errorf("--jwt-secret-file and --jwt-jwks exclude each other")
	case c.Production && (c.JWTIssuer == "" || c.JWTAudience == ""):
		return nil, usage.Errorf("--jwt-issuer and --jwt-audience are required with --env production: else tokens for others would log in here")
	}
	t, err := auth.NewTokens(cfg)
	if err != nil {
		return nil, usage.Errorf("tokens: %w", err)
	}
	return t, nil
}

// express reads the cookies of a site with express-session; nil reads none.
func (c *Config) express() (*auth.Express, error) {
	switch {
	case !c.ExpressSessions && c.ExpressSecretFile != "":
		return nil, usage.Errorf("--session-secret-file is for --session-source express")
	case !c.ExpressSessions:
		return nil, nil
	case c.ExpressSecretFile == "":
		return nil, usage.Errorf("--session-source express needs --session-secret-file")
	case (&http.Cookie{Name: c.ExpressCookie, Value: "x"}).Valid() != nil:
		return nil, usage.Errorf("--express-cookie: %q can not be the name of a cookie", c.ExpressCookie)
	}
	raw, err := os.ReadFile(c.ExpressSecretFile)
	if err != nil {
		return nil, usage.Errorf("--session-secret-file: %w", err)
	}
	out := &auth.Express{Cookie: c.ExpressCookie}
	for line := range strings.Lines(string(raw)) {
		if secret := strings.TrimRight(line, "\r\n"); secret != "" {
			out.Secrets = append(out.Secrets, secret)
		}
	}
	if len(out.Secrets) == 0 {
		return nil, usage.Errorf("--session-secret-file: %s is empty", c.ExpressSecretFile)
	}
	return out, nil
}

// openLogins makes what logs players in.
func (n *node) openLogins() error {
	c := &n.cfg
	proxies, err := auth.ParseProxies(c.TrustedProxies)
	if err != nil {
		return usage.Errorf("--trusted-proxies: %w", err)
	}
	n.addr = proxies.Addr
	cfg := auth.Config{
		Dev: c.Dev, CookieName: c.SessionCookie, SessionTTL: c.SessionTTL, AllowedOrigins: c.AllowedOrigins,
		Addr: n.addr, Spend: n.spendLogin, Failed: n.authFailed,
	}
	tokens, err := c.tokens()
	if err != nil {
		return err
	}
	if tokens != nil {
		cfg.Tokens, cfg.Gate = tokens, auth.NewLockout(n.rdb, auth.LockoutConfig{})
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := tokens.Load(ctx); err != nil {
			if _, statErr := os.Stat(c.JWTKeySet); statErr == nil { // a file that is wrong stays wrong
				return usage.Errorf("--jwt-jwks: %w", err)
			}
			n.log.Warn("keys of tokens could not be read yet", zap.Error(err))
		}
	}
	if cfg.Express, err = c.express(); err != nil {
		return err
	}
	devices, err := parseDevices(c.Devices)
	if err != nil {
		return err
	}
	n.devices = sessions.NewDevices(n.store, devices)
	n.auth = auth.New(n.store, cfg)
	return nil
}

// spendLogin charges a login to its account; its address pays for it at the route.
func (n *node) spendLogin(ctx context.Context, account string, h http.Header) error {
	d, err := n.limits.Spend(ctx, []string{"login"}, throttle.Subject{IP: "account:" + account})
	if err != nil {
		return err
	}
	d.Header(h)
	if !d.Allowed {
		return fault.ErrRateLimited.
			With("policy", d.Policy).With("scope", "user").With("limit", d.Limit).With("remaining", d.Remaining).
			With("windowMs", d.Window.Milliseconds()).With("retryAfterMs", d.RetryAfter.Milliseconds())
	}
	return nil
}

// owners knows whose characters are whose by the profile service.
type owners struct{ people profileSource }

func (o owners) Owns(ctx context.Context, userID, characterID string) (bool, error) {
	c, err := o.people.Character(ctx, characterID)
	if errors.Is(err, profiles.ErrNotFound) {
		return false, nil
	}
	return err == nil && c.OwnerID == userID, err
}

// assigned are the characters that logins named: whom a user plays, or played last.
type assigned struct{ store *sessions.Store }

func (a assigned) Owns(ctx context.Context, userID, characterID string) (bool, error) {
	id, err := a.store.CharacterOf(ctx, userID)
	if errors.Is(err, sessions.ErrNotFound) {
		return false, nil
	}
	return err == nil && id == characterID, unavailable("session", err)
}

// characterOwners is the profile service. Where none is configured, production goes by what
// logins name, for whoever plays a character owns its goods; else it is nil, and players are believed.
func (n *node) characterOwners() gateway.Characters {
	switch {
	case n.cfg.ProfilesURL != "":
		return owners{n.people}
	case n.cfg.Production:
		return assigned{n.store}
	}
	return nil
}
