package redisconn_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redisconn"
)

func TestBadURLsSayWhatIsWrongAndNoPassword(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ url, reason string }{
		"empty":                    {"", "no scheme"},
		"no scheme":                {"user:hunter2@localhost:6379", "no scheme"},
		"unknown scheme":           {"http://:hunter2@localhost:6379", "unknown scheme"},
		"scheme that is a secret":  {"hunter2://localhost", "unknown scheme"},
		"no host":                  {"redis://:hunter2@", "host is missing"},
		"no host, password":        {"redis://user:hunter2", "port is not a number"},
		"port is a word":           {"redis://:hunter2@localhost:redis", "port is not a number"},
		"port zero":                {"redis://localhost:0", "port is not a number"},
		"port too large":           {"redis://localhost:65536", "port is not a number"},
		"half an IPv6":             {"redis://::1::2", "IPv6"},
		"database is a word":       {"redis://:hunter2@localhost/first", "database is not a number"},
		"database is negative":     {"redis://localhost/-1", "database is not a number"},
		"two paths":                {"redis://localhost/1/2", "database is not a number"},
		"two servers":              {"redis://:hunter2@a:1,b:2", "more than one server"},
		"bad escape":               {"redis://:hunter2%zz@localhost", "% escape"},
		"password without a colon": {"redis://hunter2@localhost", "user:password@"},
		"unknown parameter":        {"redis://localhost?password=hunter2", "unknown parameter"},
		"control character":        {"redis://:hunter2\r\n@localhost", "control character"},
		"relative socket":          {"unix://redis.sock", "absolute path"},
		"no socket":                {"unix:///", "absolute path"},
		"sentinel without master":  {"redis+sentinel://:hunter2@a:1,b:2", "master's name is missing"},
		"sentinel, empty server":   {"redis+sentinel://a:1,,b:2/main", "host is missing"},
		"cluster with a database":  {"redis+cluster://:hunter2@a:1/3", "no databases"},
		"too many servers":         {"redis+cluster://a" + strings.Repeat(",a", 64), "more than 64"},
		"too long":                 {"redis://" + strings.Repeat("a", 5000), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := redisconn.New(c.url, redisconn.Config{})
			var bad *redisconn.URLError
			require.ErrorAs(t, err, &bad)
			require.ErrorIs(t, err, redisconn.ErrURL)
			require.ErrorContains(t, err, c.reason)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, redisconn.Redact(c.url), "hunter2")
		})
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"redis://h:1", "redis://h:1", true},
		{"redis://H:6379", "redis://ann:hunter2@h/3", true},
		{"redis://localhost", "rediss://127.0.0.1:6379", true},
		{"redis://[::1]:1", "redis://localhost:1", true},
		{"redis://[2001:db8::0:1]:1", "redis://[2001:db8::1]:1", true},
		{"redis://h:1", "redis://h:2", false},
		{"redis://h:1", "redis://i:1", false},
		{"unix:///a/b?db=1", "unix:///a//b", true},
		{"unix:///a/b", "unix:///a/c", false},
		{"redis+cluster://a:1,b:1", "redis+cluster://b:1,c:1", true},
		{"redis+sentinel://a:1,b:1/x", "redis+sentinel://b:1/x/2", true},
		{"redis+sentinel://a:1/x", "redis+sentinel://a:1/y", false},
		{"nonsense", "nonsense", false},
	} {
		require.Equal(t, c.same, redisconn.Same(c.a, c.b), "%s %s", c.a, c.b)
		require.Equal(t, c.same, redisconn.Same(c.b, c.a), "%s %s", c.b, c.a)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://localhost":                          "redis://localhost:6379",
		"redis://ann:hunter2@h:1/3":                  "redis://ann:***@h:1/3",
		"redis://:hun@ter/2?#@h:1":                   "redis://:***@h:1",
		"rediss://:hunter2@[::1]:1":                  "rediss://:***@[::1]:1",
		"redis://::1":                                "redis://[::1]:6379",
		"unix:///run/a@b.sock":                       "unix:///run/a@b.sock",
		"unix:///ann:hunter2@/run/r.sock":            "unix://***",
		"unix://ann:hunter2@/run/r.sock?db=4":        "unix://ann:***@/run/r.sock?db=4",
		"redis+sentinel://:hunter2@a,b:2/main/5":     "redis+sentinel://:***@a:26379,b:2/main/5",
		"redis+cluster://a:1,b:2":                    "redis+cluster://a:1,b:2",
		"redis://hunter2":                            "redis://hunter2:6379", // a host, as far as anybody can tell
		"redis://:hunter2@localhost:x":               "redis://***",
		"hunter2":                                    "***",
		"rediss+cluster://u:hunter2%40x@a:1,[::1]:2": "rediss+cluster://u:***@a:1,[::1]:2",
	} {
		require.Equal(t, want, redisconn.Redact(url), url)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("redis://", "a:1/0")
	f.Add("redis+sentinel://", "a:1,b:2/main")
	f.Add("unix://", "/run/redis.sock")
	f.Add("unix:///", "0")
	f.Fuzz(func(t *testing.T, scheme, rest string) {
		const secret = "Sw0rdf1sh"
		if strings.Contains(scheme+rest, "Sw0rd") || strings.ContainsAny(rest, "@") {
			t.Skip("it names the secret itself, or has another user")
		}
		url := scheme + "user:" + secret + "@" + rest
		require.NotContains(t, redisconn.Redact(url), secret)
		if _, err := redisconn.New(url, redisconn.Config{}); err != nil {
			require.NotContains(t, err.Error(), secret)
		}
	})
}
