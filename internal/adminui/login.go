package adminui

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/keys"
)

// sessionFor is how long an operator may come back without the password.
const sessionFor = 24 * time.Hour

// What pages are told. The first is what the official page compares with.
var (
	errInvalidCredentials = &socketio.Refusal{Message: "invalid credentials"}
	errTooManyOperators   = &socketio.Refusal{Message: "too many operators are connected to this node"}
	errUsersUnreadable    = &socketio.Refusal{Message: "the users file can not be read"}
)

// errTooManyLogins is a refusal that says when to try again.
func errTooManyLogins(wait time.Duration) *socketio.Refusal {
	wait = wait.Round(time.Second)
	return &socketio.Refusal{Message: "too many logins: try again in " + max(wait, time.Second).String(), Data: struct {
		Code         string `json:"code"`
		RetryAfterMs int64  `json:"retryAfterMs"`
	}{"RATE_LIMITED", wait.Milliseconds()}}
}

// credentials are the auth of a page.
type credentials struct {
	Username  jsontext.Value `json:"username"`
	Password  jsontext.Value `json:"password"`
	SessionID jsontext.Value `json:"sessionId"`
}

// text returns a value that is a text; anything else is "".
func text(v jsontext.Value) (s string) {
	if v.Kind() == '"' {
		_ = json.Unmarshal(v, &s, jsontext.AllowInvalidUTF8(true)) // then it is ""
	}
	return s
}

// Admit judges who wants to watch. See socketio.Receiver.
func (u *UI) Admit(ctx context.Context, s *socketio.Socket, auth []byte) error {
	var c credentials
	if len(auth) > 0 && json.Unmarshal(auth, &c, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) != nil {
		return errInvalidCredentials
	}
	o := &operator{addr: s.Conn().Addr()}
	var err error
	if id := text(c.SessionID); id != "" {
		err = u.resume(ctx, o, id)
	} else {
		err = u.login(ctx, o, text(c.Username), text(c.Password))
	}
	if err != nil {
		return err
	}
	if !u.reserve() {
		return errTooManyOperators
	}
	s.SetData(o)
	return nil
}

// login judges a name and a password. Each try spends the policy of logins for the address, before
// anything is compared.
func (u *UI) login(ctx context.Context, o *operator, name, password string) error {
	if name == "" && password == "" {
		return errInvalidCredentials // the page asks before anybody has typed
	}
	wait, err := u.cfg.SpendLogin(ctx, o.addr)
	if err != nil {
		return err
	}
	if wait > 0 {
		return errTooManyLogins(wait)
	}
	o.name = name
	o.passwordPrint, err = u.users.login(ctx, name, password)
	switch {
	case errors.Is(err, errWrongPassword):
		u.cfg.Log.Warn("operator refused", zap.String("addr", o.addr), zap.String("operator", cutName(name)))
		return errInvalidCredentials // not in the audit log, which strangers must not fill
	case ctx.Err() != nil:
		return err
	case err != nil:
		u.cfg.Log.Error("the users of the admin UI can not be read", zap.Error(err))
		return errUsersUnreadable
	}
	o.session = rand.Text()
	value := o.passwordPrint + " " + name
	if err := u.cfg.Redis.Set(ctx, sessionKey(o.session), value, sessionFor).Err(); err != nil {
		return err
	}
	u.cfg.Log.Info("operator logged in", zap.String("addr", o.addr), zap.String("operator", name))
	u.record(ctx, o, auditlog.Act{What: "admin-ui login"})
	return nil
}

// resume judges a session.
func (u *UI) resume(ctx context.Context, o *operator, id string) error {
	value, err := u.cfg.Redis.Get(ctx, sessionKey(id)).Result()
	if errors.Is(err, redis.Nil) {
		return errInvalidCredentials
	}
	if err != nil {
		return err
	}
	passwordPrint, name, _ := strings.Cut(value, " ")
	if !u.users.holds(name, passwordPrint) {
		return errInvalidCredentials
	}
	o.name, o.passwordPrint = name, passwordPrint
	return nil
}

// sessionKey names a session in Redis, where its id is not kept.
func sessionKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return keys.OperatorSession(hex.EncodeToString(sum[:16]))
}

// record writes an act into the audit log. It reports whether that worked.
func (u *UI) record(ctx context.Context, o *operator, a auditlog.Act) bool {
	a.By = cutName(o.name) + "@" + o.addr
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := auditlog.Record(ctx, u.cfg.Redis, a)
	if err != nil {
		u.cfg.Log.Error("an operator's act could not be recorded", zap.String("what", a.What), zap.Error(err))
	}
	return err == nil
}

// cutName bounds what is written of a name that anybody may have typed.
func cutName(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), maxName)], "?")
}
