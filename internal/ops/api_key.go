package ops

import (
	"fmt"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/server"
)

// APIKey is the command that makes keys of the server API.
type APIKey struct {
	Create apiKeyCreate `cmd:"" help:"Make a key: print it, once, and its line for --api-keys-file."`
}

type apiKeyCreate struct {
	Name  string   `required:"" help:"What the key is called in the audit log and in metrics."`
	Scope []string `required:"" help:"What it may do: cast, connections, presence, history, sessions, moderation, goods, limits. Several are separated by commas."`
	Limit string   `placeholder:"N/WINDOW" help:"It may make this many calls, on all nodes together, such as 3000/1s; the default is no bound."`
	JSON  bool     `help:"Print JSON."`
}

// APIKeyView is a key that was just made.
type APIKeyView struct {
	Key  string `json:"key"`  // a secret, which is not kept anywhere
	Line string `json:"line"` // for --api-keys-file
}

// Run prints the key on the first line, and the line for the file on the second.
func (c apiKeyCreate) Run(s cli.Streams) error {
	key, fileLine, err := server.CreateAPIKey(c.Name, c.Scope, c.Limit)
	if err != nil {
		return usage.Wrap(err)
	}
	if c.JSON {
		return printJSON(s.Out, APIKeyView{key, fileLine})
	}
	_, err = fmt.Fprintf(s.Out, "%s\n%s\n", key, fileLine)
	return err
}
