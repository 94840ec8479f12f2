// Package redisdial opens Redis from what flags and settings say: a URL, files for TLS, a
// login for the sentinels. The server and the operators' commands share it.
package redisdial

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/redisconn"
)

// A Target says where Redis is and how to log in there.
type Target struct {
	URL           string // as redisconn.Open takes it
	CAFile        string // for rediss://: the authorities to trust instead of the system's (PEM)
	CertFile      string // for rediss://: our certificate, with KeyFile
	KeyFile       string // for rediss://: its key
	SentinelLogin string // user:password for the sentinels themselves
	PasswordFile  string // holds the password of the servers, where URL has none
	URLFile       string // URL was read from it: the login in it is read again at each dial

	LockPasswordFile string // holds the password of the servers of LockServers whose URL has none

	flag, passwordFlag string // the flags that named URL and PasswordFile, for errors; "" are those of --redis
}

// Open connects to the target. What the caller must mend is a usage error.
func (t Target) Open(ctx context.Context, cfg redisconn.Config) (redis.UniversalClient, error) {
	return t.make(cfg, func(cfg redisconn.Config) (redis.UniversalClient, error) { return redisconn.Open(ctx, t.URL, cfg) })
}

// New makes a client of the target, and does not connect yet. What the caller must mend is a usage
// error.
func (t Target) New(cfg redisconn.Config) (redis.UniversalClient, error) {
	return t.make(cfg, func(cfg redisconn.Config) (redis.UniversalClient, error) { return redisconn.New(t.URL, cfg) })
}

func (t Target) make(cfg redisconn.Config, open func(redisconn.Config) (redis.UniversalClient, error)) (redis.UniversalClient, error) {
	cfg.TLSFiles = redisconn.TLSFiles{CA: t.CAFile, Cert: t.CertFile, Key: t.KeyFile}
	secrets, err := cfg.TLSFiles.Load()
	switch {
	case t.SentinelLogin != "" && !strings.Contains(t.SentinelLogin, ":"):
		return nil, usage.Errorf("--redis-sentinel-login must be USER:PASSWORD, or :PASSWORD")
	case err != nil:
		return nil, usage.Errorf("--redis-ca, --redis-cert, --redis-key: %w", err)
	case secrets != nil && !redisconn.Secure(t.URL):
		return nil, usage.Errorf("--redis-ca, --redis-cert and --redis-key need a rediss:// URL")
	}
	cfg.TLS = secrets
	if err := t.followSecrets(&cfg); err != nil {
		return nil, err
	}
	cfg.SentinelUsername, cfg.SentinelPassword, _ = strings.Cut(t.SentinelLogin, ":")
	rdb, err := open(cfg)
	if errors.Is(err, redisconn.ErrURL) {
		return nil, usage.Errorf("%s: %w", cmp.Or(t.flag, "--redis"), err)
	}
	return rdb, err
}

// followSecrets sets the login that stands in a file, and has the file read again at each dial.
func (t Target) followSecrets(cfg *redisconn.Config) (err error) {
	switch {
	case t.PasswordFile != "":
		flag := cmp.Or(t.passwordFlag, "--redis-password-file")
		if cfg.Password, err = ReadSecret(flag, t.PasswordFile); err != nil {
			return err
		}
		if redisconn.HasPassword(t.URL) {
			return usage.Errorf("%s is given, and the URL of Redis holds a password too: leave one of them out", flag)
		}
		cfg.Credentials = func() (user, password string, err error) {
			if user, _, err = redisconn.Login(t.URL); err == nil {
				password, err = ReadSecret(flag, t.PasswordFile)
			}
			return user, password, err
		}
	case t.URLFile != "":
		cfg.Credentials = func() (user, password string, err error) {
			url, err := ReadSecret("--redis-url-file", t.URLFile)
			if err != nil {
				return "", "", err
			}
			return redisconn.Login(url)
		}
	}
	return nil
}

// LockServers makes a client for each URL of --lock-redis, and does not connect yet. Those with TLS
// use the files of the target, as its own URL does, and those whose URL has no password use
// LockPasswordFile. It refuses a server that is named twice: the
// second vote would find the lock taken by the first, so that no majority could ever be reached.
func (t Target) LockServers(urls []string, cfg redisconn.Config) (servers []redis.UniversalClient, err error) {
	for i, url := range urls {
		for _, before := range urls[:i] {
			if redisconn.Same(before, url) {
				CloseAll(servers)
				return nil, usage.Errorf("--lock-redis names one server twice: %s and %s; a majority needs servers that do not depend on each other",
					redisconn.Redact(before), redisconn.Redact(url))
			}
		}
		server := Target{URL: url, flag: "--lock-redis", passwordFlag: "--lock-redis-password-file"}
		if !redisconn.HasPassword(url) {
			server.PasswordFile = t.LockPasswordFile
		}
		if redisconn.Secure(url) {
			server.CAFile, server.CertFile, server.KeyFile = t.CAFile, t.CertFile, t.KeyFile
		}
		rdb, err := server.New(cfg)
		if err != nil {
			CloseAll(servers)
			return nil, err
		}
		servers = append(servers, rdb)
	}
	return servers, nil
}

// ReadSecret returns the only line of the file that a flag names. An empty file and a second line
// are usage errors, which quote nothing of the file.
func ReadSecret(flag, path string) (string, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", usage.Errorf("%s: %w", flag, err)
	}
	secret := strings.TrimRight(string(raw), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", usage.Errorf("%s: %s must hold one line", flag, path)
	}
	return secret, nil
}

// CloseAll closes all clients.
func CloseAll(clients []redis.UniversalClient) {
	for _, rdb := range clients {
		_ = rdb.Close()
	}
}
