package auth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// header makes a header from "Name: value" lines.
func header(lines ...string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	return h
}

func TestHostileHandshakes(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	a := auth.New(store, auth.Config{Dev: true})
	s, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	dead, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	require.NoError(t, store.Destroy(t.Context(), dead.ID, sessions.Revoked, ""))
	require.NoError(t, rdb.Set(t.Context(), keys.Session("text"), "x", 0).Err())
	id, quoted := s.ID, `"`+s.ID+`"`

	for name, c := range map[string]struct {
		payload string
		header  http.Header
		want    *fault.Fault
	}{
		"nothing":                {``, nil, auth.ErrSessionRequired},
		"null":                   {`null`, nil, auth.ErrSessionRequired},
		"empty object":           {`{}`, nil, auth.ErrSessionRequired},
		"other fields only":      {`{"token":"x"}`, nil, auth.ErrSessionRequired},
		"null id":                {`{"sessionId":null}`, nil, auth.ErrSessionRequired},
		"empty id":               {`{"sessionId":""}`, nil, auth.ErrSessionRequired},
		"other case":             {`{"sessionid":` + quoted + `}`, nil, auth.ErrSessionRequired},
		"empty bearer":           {``, header("Authorization: Bearer "), auth.ErrSessionRequired},
		"other scheme":           {``, header("Authorization: Basic " + id), auth.ErrSessionRequired},
		"other cookie":           {``, header("Cookie: sidx=" + id), auth.ErrSessionRequired},
		"unknown":                {`{"sessionId":"abc"}`, nil, auth.ErrSessionInvalid},
		"destroyed":              {`{"sessionId":"` + dead.ID + `"}`, nil, auth.ErrSessionInvalid},
		"key of other type":      {`{"sessionId":"text"}`, nil, auth.ErrSessionInvalid},
		"number":                 {`{"sessionId":7}`, nil, auth.ErrSessionInvalid},
		"zero":                   {`{"sessionId":0}`, nil, auth.ErrSessionInvalid},
		"false":                  {`{"sessionId":false}`, nil, auth.ErrSessionInvalid},
		"object":                 {`{"sessionId":{"id":` + quoted + `}}`, nil, auth.ErrSessionInvalid},
		"list":                   {`{"sessionId":[` + quoted + `]}`, nil, auth.ErrSessionInvalid},
		"auth is a list":         {`[` + quoted + `]`, nil, auth.ErrSessionInvalid},
		"auth is a string":       {quoted, nil, auth.ErrSessionInvalid},
		"auth is a number":       {`1`, nil, auth.ErrSessionInvalid},
		"not JSON":               {`{"sessionId":`, nil, auth.ErrSessionInvalid},
		"rubbish behind":         {`{"sessionId":` + quoted + `}x`, nil, auth.ErrSessionInvalid},
		"given twice":            {`{"sessionId":"x","sessionId":` + quoted + `}`, nil, auth.ErrSessionInvalid},
		"NUL":                    {`{"sessionId":"` + id + `\u0000"}`, nil, auth.ErrSessionInvalid},
		"raw NUL":                {"{\"sessionId\":\"" + id + "\x00\"}", nil, auth.ErrSessionInvalid},
		"half a surrogate pair":  {`{"sessionId":"` + id + `\ud83d"}`, nil, auth.ErrSessionInvalid},
		"bad UTF-8":              {"{\"sessionId\":\"\xff\"}", nil, auth.ErrSessionInvalid},
		"space around":           {`{"sessionId":" ` + id + ` "}`, nil, auth.ErrSessionInvalid},
		"another key":            {`{"sessionId":"../user:u:sessions"}`, nil, auth.ErrSessionInvalid},
		"megabyte id":            {`{"sessionId":"` + strings.Repeat("a", 1<<20) + `"}`, nil, auth.ErrSessionInvalid},
		"megabyte beside":        {`{"sessionId":` + quoted + `,"x":"` + strings.Repeat("a", 1<<20) + `"}`, nil, auth.ErrSessionInvalid},
		"deep":                   {strings.Repeat(`{"a":`, 13_000), nil, auth.ErrSessionInvalid},
		"deep sessionId":         {`{"sessionId":` + strings.Repeat(`[`, 30_000) + strings.Repeat(`]`, 30_000) + `}`, nil, auth.ErrSessionInvalid},
		"bad auth, good bearer":  {`{"sessionId":7}`, header("Authorization: Bearer " + id), auth.ErrSessionInvalid},
		"bad bearer, good rest":  {``, header("Authorization: Bearer nobody", "Cookie: sid="+id), auth.ErrSessionInvalid},
		"two bearers":            {``, header("Authorization: Bearer "+id, "Authorization: Bearer "+id), auth.ErrSessionInvalid},
		"bearer with rubbish":    {``, header("Authorization: Bearer " + id + " x"), auth.ErrSessionInvalid},
		"two cookies, none good": {``, header("Cookie: sid=planted; sid=other", "Origin: http://localhost"), auth.ErrSessionInvalid},
		"two cookies":            {``, header("Cookie: sid=planted; sid="+id, "Origin: http://localhost"), nil},
		"in the other order":     {``, header("Cookie: sid="+id+"; sid=planted", "Origin: http://localhost"), nil},
		"one that can be no id":  {``, header("Cookie: sid=a+b; sid="+id, "Origin: http://localhost"), nil},
		"in two headers":         {``, header("Cookie: sid=planted", "Cookie: sid="+id, "Origin: http://localhost"), nil},
		"the fourth":             {``, header("Cookie: sid=a; sid=b; sid=a; sid=c; sid="+id, "Origin: http://localhost"), nil},
		"the fifth is not tried": {``, header("Cookie: sid=a; sid=b; sid=c; sid=d; sid="+id, "Origin: http://localhost"), auth.ErrSessionInvalid},
		"auth":                   {`{"sessionId":` + quoted + `,"deep":[[[{}]]]}`, nil, nil},
		"bearer":                 {`{}`, header("Authorization: bearer " + id), nil},
		"half a pair beside":     {`{"sessionId":` + quoted + `,"name":"\ud83d"}`, nil, nil},
		"auth before bearer":     {`{"sessionId":` + quoted + `}`, header("Authorization: Bearer x"), nil},
		"cookie":                 {`null`, header("Cookie: a=b; sid="+id, "Origin: http://127.0.0.1:8080"), nil},
		"bearer, foreign origin": {``, header("Authorization: Bearer "+id, "Origin: https://evil.example"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := a.Authenticate(t.Context(), []byte(c.payload), c.header)
			if c.want == nil {
				require.NoError(t, err)
				require.Equal(t, "u", got.UserID)
				return
			}
			require.Equal(t, c.want.Code, fault.Of(err).Code)
			require.Equal(t, map[string]string{"SESSION_REQUIRED": "No session provided", "SESSION_INVALID": "Invalid session"}[c.want.Code], fault.Of(err).Message)
			require.Zero(t, got)
		})
	}
}

func TestWhichOriginsMayUseTheCookie(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	s, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	allowed := []string{"https://Play.example:443", "*", "nonsense"}
	services := map[string]*auth.Service{
		"dev":        auth.New(store, auth.Config{Dev: true, AllowedOrigins: allowed}),
		"production": auth.New(store, auth.Config{AllowedOrigins: allowed}),
	}
	const yes, no = true, false
	for name, c := range map[string]struct {
		headers         []string
		dev, production bool
		http            bool // production, over HTTP
	}{
		"listed":                    {[]string{"Origin: https://play.example"}, yes, yes, yes},
		"listed, default port":      {[]string{"Origin: https://play.example:443"}, yes, yes, yes},
		"listed, other scheme":      {[]string{"Origin: http://play.example"}, no, no, no},
		"listed, other port":        {[]string{"Origin: https://play.example:8443"}, no, no, no},
		"listed with more behind":   {[]string{"Origin: https://play.example.evil.example"}, no, no, no},
		"listed as a user":          {[]string{"Origin: https://play.example@evil.example"}, no, no, no},
		"own host":                  {[]string{"Origin: http://gw.lan:8080"}, yes, yes, yes},
		"own host, other port":      {[]string{"Origin: http://gw.lan"}, no, no, no},
		"localhost":                 {[]string{"Origin: http://localhost:5173"}, yes, no, no},
		"127.0.0.1":                 {[]string{"Origin: http://127.0.0.1"}, yes, no, no},
		"IPv6 loopback":             {[]string{"Origin: http://[::1]:3000"}, yes, no, no},
		"localhost as a subdomain":  {[]string{"Origin: http://localhost.evil.example"}, no, no, no},
		"foreign":                   {[]string{"Origin: https://evil.example"}, no, no, no},
		"foreign, says same-origin": {[]string{"Origin: https://evil.example", "Sec-Fetch-Site: same-origin"}, no, no, no},
		"null":                      {[]string{"Origin: null"}, no, no, no},
		"empty":                     {[]string{"Origin: "}, no, no, no},
		"star":                      {[]string{"Origin: *"}, no, no, no},
		"a file":                    {[]string{"Origin: file://"}, no, no, no},
		"two":                       {[]string{"Origin: https://play.example", "Origin: https://evil.example"}, no, no, no},
		"none, same-origin":         {[]string{"Sec-Fetch-Site: same-origin"}, yes, yes, yes},
		"none, cross-site":          {[]string{"Sec-Fetch-Site: cross-site"}, no, no, no},
		"none, same-site":           {[]string{"Sec-Fetch-Site: same-site"}, no, no, no},
		"none: a program":           {nil, yes, no, yes},
		"none, a page of ours":      {[]string{"Referer: http://gw.lan:8080/game?x=1"}, yes, yes, yes},
		"none, a listed page":       {[]string{"Referer: https://play.example/"}, yes, yes, yes},
		"none, a foreign page":      {[]string{"Referer: https://evil.example/http://gw.lan:8080"}, no, no, no},
		"foreign, our page":         {[]string{"Origin: https://evil.example", "Referer: http://gw.lan:8080/"}, no, no, no},
		"a forwarded host":          {[]string{"Origin: https://game.example", "X-Forwarded-Host: game.example"}, no, no, no},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, "http://gw.lan:8080/", nil)
			for k, v := range header(append(c.headers, "Cookie: sid="+s.ID)...) {
				r.Header[k] = v
			}
			for mode, want := range map[string]bool{"dev": c.dev, "production": c.production} {
				_, err := services[mode].Authenticate(t.Context(), nil, services[mode].HandshakeHeader(r))
				if want {
					require.NoError(t, err, mode)
				} else {
					require.ErrorIs(t, err, auth.ErrOriginRefused, mode)
				}
			}
			_, err := services["production"].Request(r)
			if c.http {
				require.NoError(t, err)
			} else {
				require.Equal(t, http.StatusForbidden, fault.Of(err).Status())
			}
		})
	}
}

func TestRedisFailureIsNoRefusal(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	a := auth.New(sessions.New(server.Client(), sessions.Config{}), auth.Config{})
	server.Kill()
	_, err := a.Authenticate(t.Context(), []byte(`{"sessionId":"abc"}`), nil)
	require.Error(t, err)
	var f *fault.Fault
	require.False(t, errors.As(err, &f), "the gateway must be able to tell it apart")
	_, err = a.Authenticate(t.Context(), []byte(`{"sessionId":"a:b"}`), nil)
	require.ErrorIs(t, err, auth.ErrSessionInvalid, "known without Redis")

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer abc")
	_, err = a.Request(r)
	require.Equal(t, "UNAVAILABLE", fault.Of(err).Code)
}

func TestRequestSlidesOncePerInterval(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	now := time.Now()
	clock := func() time.Time { return now }
	store := &counting{Store: sessions.New(rdb, sessions.Config{Now: clock})}
	a := auth.New(store, auth.Config{Now: clock})
	s, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{TTL: 100 * time.Second})
	require.NoError(t, err)
	require.NoError(t, rdb.PExpire(t.Context(), keys.Session(s.ID), 50*time.Second).Err())
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+s.ID)
	for range 3 {
		_, err = a.Request(r)
		require.NoError(t, err)
	}
	require.Zero(t, store.touches)
	now = now.Add(11 * time.Second)
	for range 3 {
		_, err = a.Request(r)
		require.NoError(t, err)
	}
	require.Equal(t, 1, store.touches)
	require.Greater(t, rdb.PTTL(t.Context(), keys.Session(s.ID)).Val(), 90*time.Second)

	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.Revoked, ""))
	_, err = a.Request(r)
	require.Equal(t, http.StatusUnauthorized, fault.Of(err).Status())
	require.ErrorIs(t, err, auth.ErrSessionInvalid)
	r.Header.Del("Authorization")
	_, err = a.Request(r)
	require.ErrorIs(t, err, auth.ErrSessionRequired)
}

type counting struct {
	*sessions.Store
	touches int
}

func (c *counting) Touch(ctx context.Context, id string) (time.Time, error) {
	c.touches++
	return c.Store.Touch(ctx, id)
}
