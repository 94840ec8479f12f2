package sessions

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
)

// ErrNotFound says that there is no such session, or that it has ended. It matches
// fault.ErrNotFound. It never means that Redis did not answer.
var ErrNotFound = fault.New("NOT_FOUND", "There is no such session.")

// errBanLength refuses a ban that is too short or too long.
var errBanLength = fault.Invalid("for", "a second to ten years")

// A Session is one login of a user, as it was when it was read.
type Session struct {
	ID          string // a secret: never log it, never show it to others
	UserID      string
	Username    string
	CharacterID string // "" while the user has chosen none
	Roles       []string
	Metadata    Metadata

	CreatedAt         time.Time // zero when the program that created the session did not say
	LastActivityAt    time.Time // zero when unknown
	AbsoluteExpiresAt time.Time // zero: the session has no absolute lifetime
	ExpiresAt         time.Time // by this machine's clock; activity moves it
	TTL               time.Duration
}

// Metadata says from where a session was opened. Each text is cut to 512 bytes, and DeviceInfo
// to 16 entries.
type Metadata struct {
	IPAddress  string            `json:"ipAddress,omitzero"`
	UserAgent  string            `json:"userAgent,omitzero"`
	DeviceInfo map[string]string `json:"deviceInfo,omitempty"`
}

// Options of a new session. The zero value takes everything from the store's Config.
type Options struct {
	// TTL is how long the session lives without activity.
	TTL time.Duration
	// AbsoluteTTL is how long the session lives at most. Negative means no limit. Zero means the
	// store's limit, but at least TTL.
	AbsoluteTTL time.Duration
	// CharacterID is the character that the user plays; "" while the user has chosen none.
	CharacterID string
	// Metadata says from where the session is opened.
	Metadata Metadata
}

const (
	maxTTL       = 10 * 365 * 24 * time.Hour
	maxTextBytes = 512 // bytes of one text of Metadata, and of Revocation.Reason
)

// ValidID reports whether id has the form of a session id: [A-Za-z0-9_-]{1,128}. The store never
// looks up an id of another form, except those of ExpressID.
func ValidID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// hashFields are the fields of the hash, in the order in which decodeHash expects them.
var hashFields = []string{
	"userId", "username", "roles", "characterId", "metadata",
	"createdAt", "lastActivityAt", "absoluteExpiresAt", "ttlMs",
}

// encodeHash returns the hash of a new session as field, value, field, value, …
func (s *Session) encodeHash() ([]any, error) {
	roles, err := json.Marshal(s.Roles)
	if err != nil {
		return nil, err
	}
	metadata, err := json.Marshal(s.Metadata, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	values := []any{
		"userId", s.UserID, "username", s.Username, "roles", roles, "characterId", s.CharacterID, "metadata", metadata,
		"createdAt", formatInt(s.CreatedAt.UnixMilli()), "lastActivityAt", formatInt(s.LastActivityAt.UnixMilli()),
		"ttlMs", formatInt(s.TTL.Milliseconds()),
	}
	if !s.AbsoluteExpiresAt.IsZero() {
		values = append(values, "absoluteExpiresAt", formatInt(s.AbsoluteExpiresAt.UnixMilli()))
	}
	return values, nil
}

// decodeHash reads the reply to HMGET with hashFields, and the one to PTTL (-1: no expiry, -2: no
// key). It tolerates what other programs wrote: only a user id is needed, the name is cleaned, and
// roles that cannot be parsed, or a character that is no id, count as none. It returns false when
// this is not a living session.
func (s *Store) decodeHash(id string, values []any, left time.Duration) (Session, bool) {
	if len(values) != len(hashFields) {
		return Session{}, false
	}
	text := func(i int) string { v, _ := values[i].(string); return v }
	if !identity.IsID(text(0)) || left == ttlNoKey {
		return Session{}, false
	}
	now := s.now()
	out := Session{
		ID: id, UserID: text(0), Username: identity.DisplayName(text(1), text(0)), CharacterID: text(3),
		CreatedAt: parseUnixMs(text(5)), LastActivityAt: parseUnixMs(text(6)), AbsoluteExpiresAt: parseUnixMs(text(7)),
		TTL: time.Duration(parsePositive(text(8), maxTTL.Milliseconds())) * time.Millisecond,
	}
	if !identity.IsID(out.CharacterID) {
		out.CharacterID = ""
	}
	if json.Unmarshal([]byte(text(2)), &out.Roles) != nil {
		out.Roles = nil
	}
	if json.Unmarshal([]byte(text(4)), &out.Metadata, jsontext.AllowInvalidUTF8(true)) != nil {
		out.Metadata = Metadata{}
	}
	if left < 0 {
		left = s.cfg.TTL
	}
	if out.TTL == 0 {
		out.TTL = max(left, time.Millisecond)
	}
	out.ExpiresAt = now.Add(left)
	if abs := out.AbsoluteExpiresAt; !abs.IsZero() && abs.Before(out.ExpiresAt) {
		if !abs.After(now) {
			return Session{}, false
		}
		out.ExpiresAt = abs
	}
	return out, true
}

func parseUnixMs(text string) time.Time {
	if n := parsePositive(text, 1<<53-1); n > 0 {
		return time.UnixMilli(n)
	}
	return time.Time{}
}

// parsePositive reads a positive number that another program wrote, as our scripts do. It returns 0
// for anything else, and for a number above most.
func parsePositive(text string, most int64) int64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n <= 0 || n > float64(most) {
		return 0
	}
	return int64(n)
}

func (m Metadata) truncateValues() Metadata {
	out := Metadata{IPAddress: truncateText(m.IPAddress), UserAgent: truncateText(m.UserAgent)}
	for k, v := range m.DeviceInfo {
		if len(out.DeviceInfo) == 16 {
			break
		}
		if out.DeviceInfo == nil {
			out.DeviceInfo = make(map[string]string, len(m.DeviceInfo))
		}
		out.DeviceInfo[truncateText(k)] = truncateText(v)
	}
	return out
}

// truncateText returns text as valid UTF-8 of at most maxTextBytes.
func truncateText(text string) string {
	if len(text) > maxTextBytes {
		text = text[:maxTextBytes]
	}
	if utf8.ValidString(text) {
		return text
	}
	out := make([]rune, 0, len(text))
	for _, r := range text {
		if r != utf8.RuneError {
			out = append(out, r)
		}
	}
	return string(out)
}
