// Package auth says who a request is: it finds the session id that a client presents,
// and the session behind it. It also opens and ends sessions over HTTP.
//
// # Where the id comes from
//
// In this order, the first that is given counts, even when it is wrong: sessionId of the
// CONNECT packet's auth (null and "" are not given), Authorization: Bearer, the cookie. With Config.Express each of
// the three may carry the signed cookie of express-session instead, and its cookie comes before ours.
//
// # When the cookie counts
//
// A browser sends cookies along for any page, so a cookie only counts when the page may speak
// for the user. The request's Origin decides; where a browser sends none (a GET to its own
// origin), Sec-Fetch-Site: same-origin stands for it.
//
//	Origin                          Dev       otherwise
//	one of AllowedOrigins           yes       yes
//	the request's own host          yes       no: deny by default
//	a loopback host                 yes       no
//	anything else, also "null"      no: ORIGIN_REFUSED
//	none, Sec-Fetch-Site same-origin  yes     yes
//	none, Sec-Fetch-Site other      no: ORIGIN_REFUSED
//	none, nor Sec-Fetch-Site        yes       socket: ORIGIN_REFUSED; HTTP: yes
//
// The last line is a program and not a browser: every browser of today sends one of the two with
// each websocket, each POST, and each GET from a page. Ids in auth and in bearer are never sent by a
// browser on its own, so they count with any Origin.
package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/sessions"
)

// What a refused handshake is told, in words that clients compare.
var (
	ErrSessionRequired = fault.New("SESSION_REQUIRED", "No session provided")
	ErrSessionInvalid  = fault.New("SESSION_INVALID", "Invalid session")
	ErrOriginRefused   = fault.New("ORIGIN_REFUSED", "This page may not use your session")
)

// A Store is what auth needs of sessions; *sessions.Store is one.
type Store interface {
	Lookup
	// Create returns an INVALID fault for names that can not be.
	Create(ctx context.Context, userID, username string, roles []string, o sessions.Options) (sessions.Session, error)
	// Renew returns sessions.ErrNotFound when there is none.
	Renew(ctx context.Context, id string) (sessions.Session, error)
	// Destroy returns sessions.ErrNotFound when there is none.
	Destroy(ctx context.Context, id, code, reason string) error
}

// Lookup reads and slides sessions. Both return sessions.ErrNotFound when there is none.
type Lookup interface {
	Get(ctx context.Context, id string) (sessions.Session, error)
	Touch(ctx context.Context, id string) (time.Time, error)
}

// Config of a Service; the zero value is a strict production one.
type Config struct {
	// Dev opens guest logins, lets loopback and same-host pages use the cookie, and sends
	// the cookie over plain HTTP.
	Dev bool
	// CookieName is the session cookie; "sid" when empty.
	CookieName string
	// SessionTTL is that of new sessions; zero: the store's.
	SessionTTL time.Duration
	// AllowedOrigins are the pages that may use the cookie: "https://play.example". There
	// are no wildcards: "*" allows nobody.
	AllowedOrigins []string
	// Express makes the logins of a site with express-session and connect-redis count; nil does not.
	Express *Express
	// Tokens judges the tokens of POST /auth/login; nil takes none.
	Tokens Verifier
	// Gate turns away whose token logins failed too often; nil lets them try.
	Gate Gate
	// Spend charges a login to its account, and a renewal to "renewals:" and the user's id, and tells the limit in the answer's header; it
	// returns a RATE_LIMITED fault. Nil does not limit accounts.
	Spend func(ctx context.Context, account string, h http.Header) error
	// Addr is the client's IP address; that of the connection when nil.
	Addr func(*http.Request) string
	// Timeout bounds what a login or logout waits for Redis; 2 s when zero.
	Timeout time.Duration
	// Failed, when set, is told why an HTTP request could not be served, or a token did not
	// stand: the answer does not say it.
	Failed func(doing string, err error)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// A Service authenticates; it may be used by any number of goroutines.
type Service struct {
	store   Store
	cfg     Config
	origins map[string]bool // static after New
}

const (
	maxAuth = 64 << 10 // bytes of a CONNECT packet's auth
	maxBody = 64 << 10
)

// New makes a service.
func New(store Store, cfg Config) *Service {
	if cfg.CookieName == "" {
		cfg.CookieName = "sid"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Addr == nil {
		cfg.Addr = Proxies(nil).Addr
	}
	if cfg.Failed == nil {
		cfg.Failed = func(string, error) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{store: store, cfg: cfg, origins: make(map[string]bool)}
	for _, o := range cfg.AllowedOrigins {
		if scheme, host, ok := splitOrigin(o); ok {
			s.origins[scheme+"://"+host] = true
		}
	}
	return s
}

// Authenticate judges a handshake. payload is the raw JSON of the CONNECT packet's auth,
// maybe empty; header is that of the transport's first request, as HandshakeHeader gives it. It does not
// slide the session: whoever follows the socket does (sessions.Tracker.Open).
//
// Refusals are the faults ErrSessionRequired, ErrSessionInvalid and ErrOriginRefused. Any
// other error means that Redis did not answer: nothing is known about the session, and the client should
// be left to try again.
func (a *Service) Authenticate(ctx context.Context, payload []byte, header http.Header) (sessions.Session, error) {
	id, err := payloadID(payload)
	if err != nil {
		return sessions.Session{}, err
	}
	if id != "" {
		id, err = a.judged(id)
	} else {
		id, err = a.headerID(header, true)
	}
	if err != nil {
		return sessions.Session{}, err
	}
	return a.lookup(ctx, id)
}

// Request tells who sends an HTTP request, by bearer or cookie, and slides the session, at
// most once per touch interval. Refusals are UNAUTHENTICATED and FORBIDDEN (a page that may not use the
// cookie), each because of the fault that a handshake would get; when Redis does not answer it is UNAVAILABLE.
func (a *Service) Request(r *http.Request) (sessions.Session, error) {
	s, err := a.request(r)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, ErrOriginRefused):
		return s, fault.ErrForbidden.Because(err)
	case errors.Is(err, ErrSessionRequired), errors.Is(err, ErrSessionInvalid):
		return s, fault.ErrUnauthenticated.Because(err)
	}
	return s, fault.Unavailable("session", time.Second, err)
}

func (a *Service) request(r *http.Request) (sessions.Session, error) {
	id, err := a.headerID(HandshakeHeader(r), false)
	if err != nil {
		return sessions.Session{}, err
	}
	s, err := a.lookup(r.Context(), id)
	if err != nil {
		return s, err
	}
	now := a.cfg.Now()
	if now.Before(s.LastActivityAt.Add(sessions.TouchInterval(s.TTL))) {
		return s, nil
	}
	until, err := a.store.Touch(r.Context(), s.ID)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return sessions.Session{}, ErrSessionInvalid
	case err != nil:
		return sessions.Session{}, fmt.Errorf("authenticate: %w", err)
	}
	s.ExpiresAt, s.LastActivityAt = until, now
	return s, nil
}

// lookup finds the session of an id; "" is none.
func (a *Service) lookup(ctx context.Context, id string) (sessions.Session, error) {
	if id == "" {
		return sessions.Session{}, ErrSessionRequired
	}
	s, err := a.store.Get(ctx, id)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return sessions.Session{}, ErrSessionInvalid
	case err != nil:
		return sessions.Session{}, fmt.Errorf("authenticate: %w", err)
	}
	return s, nil
}

// payloadID reads auth.sessionId; "" when none is given. Other members are not looked at,
// but what is not one JSON object with distinct names is not valid.
func payloadID(payload []byte) (string, error) {
	if len(payload) > maxAuth {
		return "", ErrSessionInvalid
	}
	if len(payload) == 0 {
		return "", nil
	}
	var in struct {
		SessionID jsontext.Value `json:"sessionId"`
	}
	if json.Unmarshal(payload, &in) != nil {
		return "", ErrSessionInvalid
	}
	switch in.SessionID.Kind() {
	case 0, 'n':
		return "", nil
	case '"':
		var id string
		if json.Unmarshal(in.SessionID, &id) != nil {
			return "", ErrSessionInvalid
		}
		return id, nil
	}
	return "", ErrSessionInvalid
}

// headerID reads the bearer token, else the cookie; "" when neither is given.
func (a *Service) headerID(h http.Header, socket bool) (string, error) {
	if bearers := h.Values("Authorization"); len(bearers) > 1 {
		return "", ErrSessionInvalid
	} else if len(bearers) == 1 {
		scheme, id, _ := strings.Cut(strings.TrimSpace(bearers[0]), " ")
		if id = strings.TrimSpace(id); strings.EqualFold(scheme, "Bearer") && id != "" {
			return a.judged(id)
		}
	}
	id, err := a.cookieID(h)
	if err != nil || id == "" {
		return "", err
	}
	if !a.mayUseCookie(h, socket) {
		return "", ErrOriginRefused
	}
	return a.judged(id)
}

// cookieID is the value of the express cookie, where there is such a source, else of ours;
// "" when neither is given.
func (a *Service) cookieID(h http.Header) (id string, err error) {
	names := []string{a.cfg.CookieName}
	if a.cfg.Express != nil {
		names = []string{a.cfg.Express.Cookie, a.cfg.CookieName}
	}
	for _, name := range names {
		for _, c := range (&http.Request{Header: h}).CookiesNamed(name) {
			if id != "" && id != c.Value { // one of them was planted
				return "", ErrSessionInvalid
			}
			id = c.Value
		}
		if id != "" {
			break
		}
	}
	return id, nil
}

// judged is the session id behind what a client presents: the same, or, where the client shows
// a cookie that express-session signed, that session's.
func (a *Service) judged(presented string) (string, error) {
	if a.cfg.Express != nil {
		if signed, ok := a.cfg.Express.signed(presented); ok {
			sid, ok := a.cfg.Express.verify(signed)
			if !ok {
				return "", ErrSessionInvalid
			}
			return sessions.ExpressID(sid), nil
		}
	}
	if !sessions.ValidID(presented) {
		return "", ErrSessionInvalid
	}
	return presented, nil
}
