package backend

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/signedpost"
)

// A Config is one backend. URL and SecretFile are required, and Events or Connect.
type Config struct {
	// Name is 1 to 32 of a-z, 0-9 and -, beginning with a letter. It is the feature in UNAVAILABLE, in
	// metrics and in the log.
	Name string
	// URL is https, or http on loopback.
	URL string
	// Events are the events that the backend serves: names, and patterns such as quest:*, which stand
	// for the events of the schema.
	Events []string
	// SchemaFile describes the events. Without it, Events are names, and payloads are any objects.
	SchemaFile string
	// SecretFile has the secrets with which requests are signed, one a line.
	SecretFile string
	// CAFile has the authorities to trust in place of the system's, as PEM.
	CAFile string
	// Limits are the policies that each event spends.
	Limits []string
	// Roles are the roles of which a player needs one.
	Roles []string
	// Timeout is for one event. 0 means 3 s, or less where a handler has less.
	Timeout time.Duration
	// Once makes events with an idempotency key be done once. The backend must recognise keys, because
	// the gateway sends an event again when it did not learn what became of it.
	Once bool
	// MaxWaiting is how many events may be under way at a time; 0 means 256.
	MaxWaiting int
	// MaxConnections is how many connections there may be; 0 means 64.
	MaxConnections int
	// Connect has the backend judge who connects: "" does not; while the backend is away, "refuse"
	// turns clients away, who come back by themselves, and "admit" lets them in.
	Connect string
}

// The values of Config.Connect.
const (
	ConnectRefuse = "refuse"
	ConnectAdmit  = "admit"
)

const (
	maxBackends = 32
	maxEvents   = 1000 // of one backend
	usualTime   = 3 * time.Second
)

// A Fault is one thing that is wrong with the settings of a backend.
type Fault struct {
	Backend string
	Key     string // as in the settings file
	Err     error
}

// Error returns the fault as it stands in the log.
func (f *Fault) Error() string {
	text := "backends: " + f.Backend
	if f.Key != "" {
		text += ": " + f.Key
	}
	return text + ": " + f.Err.Error()
}

// Unwrap returns what is wrong.
func (f *Fault) Unwrap() error { return f.Err }

var (
	backendName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	eventPattern = regexp.MustCompile(`^[a-z][a-z0-9]*(:[A-Za-z0-9][A-Za-z0-9_-]*)*:\*$`)
)

// Check returns everything that is wrong with backends, so far as that can be seen without the
// gateway's own events and limits. handlerTimeout is what a handler has. It reads their files.
func Check(all []Config, handlerTimeout time.Duration) (faults []*Fault) {
	judge := ""
	for i, c := range all {
		faults = append(faults, c.checkSettings(handlerTimeout)...)
		switch {
		case slices.ContainsFunc(all[:i], func(other Config) bool { return other.Name == c.Name }):
			faults = append(faults, &Fault{c.Name, "", errors.New("there are two of that name")})
		case i == maxBackends:
			faults = append(faults, &Fault{c.Name, "", fmt.Errorf("there are more than %d backends", maxBackends)})
		}
		if c.Connect != "" {
			if judge != "" {
				faults = append(faults, &Fault{c.Name, "connect", fmt.Errorf("%s judges who connects already", judge)})
			}
			judge = c.Name
		}
	}
	owners := map[string]string{}
	for _, c := range all {
		_, names, err := c.readEvents()
		if err != nil {
			continue // it is told already
		}
		for _, name := range names {
			if other := owners[name]; other != "" && other != c.Name {
				faults = append(faults, &Fault{c.Name, "events", fmt.Errorf("%s is served by %s already", name, other)})
			}
			owners[name] = c.Name
		}
	}
	return faults
}

func (c *Config) checkSettings(handlerTimeout time.Duration) (faults []*Fault) {
	refuse := func(key, format string, args ...any) {
		faults = append(faults, &Fault{c.Name, key, fmt.Errorf(format, args...)})
	}
	if !backendName.MatchString(c.Name) {
		refuse("", "a name is 1 to 32 of a-z, 0-9 and -, and begins with a letter")
	}
	if c.URL == "" {
		refuse("url", "is required")
	} else if err := signedpost.CheckURL(c.URL); err != nil {
		refuse("url", "%w", err)
	}
	if c.SecretFile == "" {
		refuse("secret-file", "is required: requests are signed with the secret in it")
	} else if _, err := signedpost.OpenSecrets(c.SecretFile); err != nil {
		refuse("secret-file", "%w", err)
	}
	if c.CAFile != "" {
		if _, err := signedpost.NewClient(signedpost.Config{CAFile: c.CAFile}); err != nil {
			refuse("ca", "%w", err)
		}
	}
	if len(c.Events) == 0 && c.Connect == "" {
		refuse("events", "is required, unless the backend judges who connects")
	}
	switch {
	case c.Timeout < 0 || c.Timeout > 0 && c.Timeout < time.Millisecond:
		refuse("timeout", "must be at least 1ms")
	case c.Timeout > handlerTimeout:
		refuse("timeout", "must not be longer than handler-timeout (%s)", handlerTimeout)
	}
	if c.MaxWaiting < 0 || c.MaxWaiting > 100_000 {
		refuse("waiting", "must be 1 to 100000")
	}
	if c.MaxConnections < 0 || c.MaxConnections > 10_000 {
		refuse("connections", "must be 1 to 10000")
	}
	if c.Connect != "" && c.Connect != ConnectRefuse && c.Connect != ConnectAdmit {
		refuse("connect", "must be refuse or admit")
	}
	if _, _, err := c.readEvents(); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// readEvents reads the schema, and returns it with the names of the events, sorted.
func (c *Config) readEvents() (s *schemaFile, names []string, fault *Fault) {
	isPattern := func(text string) bool { return strings.HasSuffix(text, ":*") }
	for _, e := range c.Events {
		if isPattern(e) && !eventPattern.MatchString(e) || !isPattern(e) && !event.IsRawName(e) {
			return nil, nil, &Fault{c.Name, "events", fmt.Errorf("%q is neither an event such as quest:accept nor a pattern such as quest:*", e)}
		}
		if isPattern(e) && c.SchemaFile == "" {
			return nil, nil, &Fault{c.Name, "events", fmt.Errorf("%s needs a schema, which says which events there are", e)}
		}
	}
	s = &schemaFile{}
	if c.SchemaFile != "" {
		var err error
		if s, err = readSchema(c.SchemaFile); err != nil {
			return nil, nil, &Fault{c.Name, "schema", err}
		}
	}
	for name := range s.Events {
		if !c.coversEvent(name) {
			return nil, nil, &Fault{c.Name, "schema", fmt.Errorf("%s: the event %s is not among the events of the backend", c.SchemaFile, name)}
		}
		names = append(names, name)
	}
	for _, e := range c.Events {
		switch {
		case isPattern(e) && !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, e[:len(e)-1]) }):
			return nil, nil, &Fault{c.Name, "events", fmt.Errorf("%s stands for no event of the schema", e)}
		case isPattern(e):
		case c.SchemaFile != "" && !slices.Contains(names, e):
			return nil, nil, &Fault{c.Name, "events", fmt.Errorf("%s is not in the schema", e)}
		default:
			names = append(names, e)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxEvents {
		return nil, nil, &Fault{c.Name, "events", fmt.Errorf("there are more than %d", maxEvents)}
	}
	return s, names, nil
}

// coversEvent reports whether an event is one of Events, or one of a pattern there.
func (c *Config) coversEvent(name string) bool {
	return slices.ContainsFunc(c.Events, func(e string) bool {
		prefix, isPattern := strings.CutSuffix(e, "*")
		return e == name || isPattern && strings.HasPrefix(name, prefix)
	})
}

// withDefaults returns the configuration with its defaults.
func (c Config) withDefaults(handlerTimeout time.Duration) Config {
	c.Timeout = cmp.Or(c.Timeout, min(usualTime, handlerTimeout))
	c.MaxWaiting = cmp.Or(c.MaxWaiting, 256)
	c.MaxConnections = cmp.Or(c.MaxConnections, 64)
	return c
}

// readFile reads a file that is not larger than most.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Size() > most:
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return os.ReadFile(path) //nolint:gosec // the operator names it
}

// Summary returns the settings of a backend in one line.
func (c Config) Summary() string {
	return fmt.Sprintf("%s: url=%s events=%s schema=%s secret-file=%s ca=%s limits=%s roles=%s timeout=%s once=%t waiting=%d connections=%d connect=%s",
		c.Name, c.URL, strings.Join(c.Events, " "), c.SchemaFile, c.SecretFile, c.CAFile, strings.Join(c.Limits, " "), strings.Join(c.Roles, " "), c.Timeout, c.Once, c.MaxWaiting, c.MaxConnections, c.Connect)
}
