package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/profiles"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// loginSettings say who may open sessions, and from where.
type loginSettings struct {
	JWTSecretFile     string        `name:"jwt-secret-file" placeholder:"FILE" help:"Take tokens at POST /auth/login that are signed by this secret (HS256, at least 32 bytes)."`
	JWTJWKS           string        `name:"jwt-jwks" placeholder:"URL" help:"Take tokens that are signed by one of these public keys (RS256, ES256, EdDSA): an https URL, or a file."`
	JWTIssuer         string        `name:"jwt-issuer" placeholder:"ISS" help:"What iss of a token must be."`
	JWTAudience       string        `name:"jwt-audience" placeholder:"AUD" help:"What aud of a token must contain."`
	JWTSkew           time.Duration `name:"jwt-skew" default:"30s" help:"How far the clock of the tokens' issuer may be off."`
	Devices           string        `default:"many" placeholder:"RULE" help:"On how many devices a user may be connected: many, single (a new one ends the old), newest:N, or oldest:N (a new one is refused)."`
	SessionSource     string        `default:"gateway" enum:"gateway,express" help:"express makes logins of a site with express-session and connect-redis count here too (${enum})."`
	SessionSecretFile string        `placeholder:"FILE" help:"The secret of that site's sessions; several, a line each, while it is changed."`
	ExpressCookie     string        `default:"connect.sid" help:"The cookie of that site's sessions."`
	TrustedProxies    []string      `placeholder:"NETWORK" help:"Proxies whose X-Forwarded-For is believed: 10.0.0.0/8; may be repeated."`
}

// tokens are what POST /auth/login exchanges; nil takes none.
func (l loginSettings) tokens(production bool) (*auth.Tokens, error) {
	cfg := auth.TokenConfig{JWKS: l.JWTJWKS, Issuer: l.JWTIssuer, Audience: l.JWTAudience, Skew: l.JWTSkew}
	if l.JWTSecretFile == "" && l.JWTJWKS == "" {
		return nil, nil
	}
	if l.JWTSecretFile != "" {
		raw, err := os.ReadFile(l.JWTSecretFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--jwt-secret-file: %w", err)}
		}
		cfg.Secret = bytes.TrimRight(raw, "\r\n")
	}
	switch {
	case l.JWTSkew <= 0:
		return nil, usage("--jwt-skew must be positive")
	case l.JWTSecretFile != "" && l.JWTJWKS != "":
		return nil, usage("--jwt-secret-file and --jwt-jwks exclude each other")
	case production && (l.JWTIssuer == "" || l.JWTAudience == ""):
		return nil, usage("--jwt-issuer and --jwt-audience are required with --env production: else tokens for others would log in here")
	}
	t, err := auth.NewTokens(cfg)
	if err != nil {
		return nil, usageError{fmt.Errorf("tokens: %w", err)}
	}
	return t, nil
}

// express reads the cookies of a site with express-session; nil reads none.
func (l loginSettings) express() (*auth.Express, error) {
	switch {
	case l.SessionSource != "express" && l.SessionSecretFile != "":
		return nil, usage("--session-secret-file is for --session-source express")
	case l.SessionSource != "express":
		return nil, nil
	case l.SessionSecretFile == "":
		return nil, usage("--session-source express needs --session-secret-file")
	case (&http.Cookie{Name: l.ExpressCookie, Value: "x"}).Valid() != nil:
		return nil, usage("--express-cookie: %q can not be the name of a cookie", l.ExpressCookie)
	}
	raw, err := os.ReadFile(l.SessionSecretFile)
	if err != nil {
		return nil, usageError{fmt.Errorf("--session-secret-file: %w", err)}
	}
	out := &auth.Express{Cookie: l.ExpressCookie}
	for line := range strings.Lines(string(raw)) {
		if secret := strings.TrimRight(line, "\r\n"); secret != "" {
			out.Secrets = append(out.Secrets, secret)
		}
	}
	if len(out.Secrets) == 0 {
		return nil, usage("--session-secret-file: %s is empty", l.SessionSecretFile)
	}
	return out, nil
}

// openLogins makes what logs players in.
func (n *node) openLogins() error {
	c := n.cfg
	proxies, err := auth.ParseProxies(c.TrustedProxies)
	if err != nil {
		return usageError{fmt.Errorf("--trusted-proxies: %w", err)}
	}
	n.addr = proxies.Addr
	cfg := auth.Config{
		Dev: c.Dev, CookieName: c.SessionCookie, SessionTTL: c.SessionTTL, AllowedOrigins: c.AllowedOrigins,
		Addr: n.addr, Spend: n.spendLogin, Failed: n.authFailed,
	}
	tokens, err := c.tokens(c.Env == "production")
	if err != nil {
		return err
	}
	if tokens != nil {
		cfg.Tokens, cfg.Gate = tokens, auth.NewLockout(n.rdb, auth.LockoutConfig{})
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := tokens.Load(ctx); err != nil {
			if _, statErr := os.Stat(c.JWTJWKS); statErr == nil { // a file that is wrong stays wrong
				return usageError{fmt.Errorf("--jwt-jwks: %w", err)}
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
	case n.cfg.Env == "production":
		return assigned{n.store}
	}
	return nil
}
