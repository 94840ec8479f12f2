package redisconn_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// rights are those of a small program.
var rights = redisconn.Rights{
	Commands: []string{
		"EVAL return(1) 0", "EVALSHA 0000000000000000000000000000000000000000 0", "MULTI", "TIME", "SCAN 0",
		"GET KEY", "SET KEY v", "HSET KEY f v", "PUBLISH CHANNEL m", "SUBSCRIBE CHANNEL",
	},
	Keys:     []string{"session:*", "temp:*", "{lock:*"},
	Channels: []string{"session:revocations", "socket.io#*"},
}

func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	for name, c := range map[string]struct {
		rules   []any
		missing []string
	}{
		"nothing":                {[]any{"~*", "&*", "+@all"}, nil},
		"no scripts":             {[]any{"~*", "&*", "+@all", "-@scripting"}, []string{"+eval", "+evalsha"}},
		"no scripts, no TIME":    {[]any{"~*", "&*", "+@all", "-@scripting", "-time", "-scan"}, []string{"+eval", "+evalsha", "+time", "+scan"}},
		"no scripts, no channel": {[]any{"~*", "resetchannels", "&session:*", "+@all", "-@scripting"}, []string{"+eval", "+evalsha", "&socket.io#*"}},
		"no channels":            {[]any{"~*", "resetchannels", "+@all"}, []string{"&session:revocations", "&socket.io#*"}},
		"one channel":            {[]any{"~*", "resetchannels", "&socket.io*", "+@all"}, []string{"&session:revocations"}},
		"hardly anything": {[]any{"~temp:*", "+@connection", "+@scripting", "+multi"}, []string{
			"~session:*", "~temp:*", "~{lock:*", "&session:revocations", "&socket.io#*", "+get", "+set", "+publish", "+subscribe", "+time", "+scan",
		}},
		"no PUBLISH":           {[]any{"~*", "&*", "+@all", "-publish"}, []string{"+publish"}},
		"no keys":              {[]any{"&*", "+@all"}, []string{"~session:*", "~temp:*", "~{lock:*"}},
		"one key":              {[]any{"~session:*", "~temp:*", "&*", "+@all"}, []string{"~{lock:*"}},
		"one key is only read": {[]any{"~session:*", "%R~temp:*", "~{lock:*", "&*", "+@all"}, []string{"~temp:*"}},
		"no TIME":              {[]any{"~*", "&*", "+@all", "-time"}, []string{"+time"}},
		"no SCAN, no HSET":     {[]any{"~*", "&*", "+@all", "-scan", "-hset"}, []string{"+scan", "+hset"}},
		"no MULTI, no scripts": {[]any{"~*", "&*", "+@all", "-multi", "-@scripting"}, []string{"+multi", "+eval", "+evalsha"}},
	} {
		t.Run(name, func(t *testing.T) {
			user := "u" + time.Now().Format("150405.000000000")
			admin := s.Client()
			rules := append([]any{"acl", "setuser", user, "on", ">secret"}, c.rules...)
			require.NoError(t, admin.Do(t.Context(), rules...).Err())
			m, err := rights.FindMissing(t.Context(), open(t, "redis://"+user+":secret@"+s.Addr()))
			require.NoError(t, err)
			require.ElementsMatch(t, c.missing, m.Rules)
			require.Empty(t, m.Unknown)
			if c.missing == nil {
				require.True(t, m.IsEmpty())
				return
			}
			require.Contains(t, m.String(), "ACL SETUSER "+user+" "+m.Rules[0])
			// The line grants what it says. When it grants the first key, other rights may be found to be
			// missing, and a second line grants those.
			for range 2 {
				grant := []any{"acl", "setuser", user}
				for _, rule := range m.Rules {
					grant = append(grant, rule)
				}
				require.NoError(t, admin.Do(t.Context(), grant...).Err())
				m, err = rights.FindMissing(t.Context(), open(t, "redis://"+user+":secret@"+s.Addr()))
				require.NoError(t, err)
			}
			require.True(t, m.IsEmpty(), m.String())
		})
	}
	require.Zero(t, s.Client().DBSize(t.Context()).Val(), "asking writes nothing")
}

// TestAServerWithoutACommand has commands that the server's configuration takes away, which no ACL
// rule gives back.
func TestAServerWithoutACommand(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t, "--rename-command", "TIME", "", "--rename-command", "SCAN", "secret-scan")
	m, err := rights.FindMissing(t.Context(), s.Client())
	require.NoError(t, err)
	require.Equal(t, "commands that the server does not have: TIME SCAN", m.String())

	s = redistest.Server(t, "--rename-command", "EVAL", "", "--rename-command", "EVALSHA", "", "--rename-command", "TIME", "")
	m, err = rights.FindMissing(t.Context(), s.Client())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"EVAL", "EVALSHA", "TIME"}, m.Unknown)
}

func TestRightsAreTriedOnEveryMaster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	client := open(t, c.URL())
	m, err := rights.FindMissing(t.Context(), client)
	require.NoError(t, err)
	require.True(t, m.IsEmpty(), m.String())
	one := client.(*redis.ClusterClient)
	master, err := one.MasterForKey(t.Context(), "session:a")
	require.NoError(t, err)
	require.NoError(t, master.Do(t.Context(), "acl", "setuser", "default", "-time").Err())
	m, err = rights.FindMissing(t.Context(), client)
	require.NoError(t, err)
	require.Equal(t, "missing rights: +time; grant them with: ACL SETUSER default +time", m.String())
}

// TestMonitorTriesTheRights takes rights away and gives them back while a monitor runs.
func TestMonitorTriesTheRights(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t, "--user", "game", "on", ">secret", "~*", "&*", "+@all", "-@scripting")
	admin := s.Client()
	client := open(t, "redis://game:secret@"+s.Addr())
	m, changes := watch(t, client, redisconn.MonitorConfig{Rights: rights, RightsEvery: time.Hour})
	require.Equal(t, change{redisconn.Up, redisconn.Forbidden, "missing rights: +eval +evalsha; grant them with: ACL SETUSER game +eval +evalsha"},
		becomes(t, changes, redisconn.Forbidden), "at the start")
	require.Equal(t, []string{"+eval", "+evalsha"}, m.MissingRights().Rules)
	require.Equal(t, "missing rights: +eval +evalsha", m.MissingRights().Public())

	set := func(rules ...any) {
		require.NoError(t, admin.Do(t.Context(), append([]any{"acl", "setuser", "game"}, rules...)...).Err())
	}
	set("+eval", "-time")
	for c := range changes { // which other right is missing is told too
		if c.why == "missing rights: +evalsha +time; grant them with: ACL SETUSER game +evalsha +time" {
			require.Equal(t, redisconn.Forbidden, c.from)
			break
		}
	}
	set("+evalsha", "+time")
	becomes(t, changes, redisconn.Up)
	require.True(t, m.MissingRights().IsEmpty())

	// The next look is in an hour, but a command that is refused brings it forward.
	set("-hset")
	require.ErrorContains(t, client.HSet(t.Context(), "session:a", "f", "v").Err(), "NOPERM")
	require.Contains(t, becomes(t, changes, redisconn.Forbidden).why, "+hset")
	set("+hset")
	becomes(t, changes, redisconn.Up)
}

func TestMonitorTriesTheRightsAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	admin := s.Client()
	_, changes := watch(t, open(t, s.URL()), redisconn.MonitorConfig{Rights: rights, RightsEvery: 10 * time.Millisecond})
	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "default", "resetchannels", "&session:*").Err())
	require.Contains(t, becomes(t, changes, redisconn.Forbidden).why, "ACL SETUSER default &socket.io#*")
}

// Redis lets a user subscribe to a pattern only with a rule for that very pattern, or for all
// channels: a rule that matches the same channels is not enough.
func TestAPatternNeedsARuleOfItsOwn(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	const pattern = "socket.io#/#*"
	needs := redisconn.Rights{Commands: []string{"EVAL return(1) 0", "GET KEY"}, Keys: []string{"temp:*"}, Channels: []string{"socket.io#*"}, Patterns: []string{pattern}}
	for user, c := range map[string]struct {
		rules   []any
		missing []string
	}{
		"wider":    {[]any{"~*", "resetchannels", "&socket.io*", "+@all"}, []string{"+psubscribe", "&" + pattern}},
		"very":     {[]any{"~*", "resetchannels", "&socket.io*", "&" + pattern, "+@all"}, nil},
		"all":      {[]any{"~*", "&*", "+@all"}, nil},
		"command":  {[]any{"~*", "&*", "+@all", "-psubscribe"}, []string{"+psubscribe"}},
		"noscript": {[]any{"~*", "resetchannels", "&socket.io*", "+@all", "-eval"}, []string{"+eval", "+psubscribe", "&" + pattern}},
	} {
		t.Run(user, func(t *testing.T) {
			require.NoError(t, s.Client().Do(t.Context(), append([]any{"acl", "setuser", user, "on", ">secret"}, c.rules...)...).Err())
			rdb := open(t, "redis://"+user+":secret@"+s.Addr())
			m, err := needs.FindMissing(t.Context(), rdb)
			require.NoError(t, err)
			require.ElementsMatch(t, c.missing, m.Rules)
			subscribe := func() error {
				subscription := rdb.PSubscribe(t.Context(), pattern)
				defer subscription.Close()
				_, err := subscription.Receive(t.Context())
				return err
			}
			if c.missing == nil {
				require.NoError(t, subscribe())
				return
			}
			require.ErrorContains(t, subscribe(), "NOPERM")
			grant := []any{"acl", "setuser", user}
			for _, rule := range m.Rules {
				grant = append(grant, rule)
			}
			require.NoError(t, s.Client().Do(t.Context(), grant...).Err())
			require.NoError(t, subscribe(), "the named line is enough")
		})
	}
}
