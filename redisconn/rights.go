package redisconn

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// Rights are what a program must be allowed to do in Redis. The zero value needs nothing.
type Rights struct {
	// Commands are the commands, each with arguments as an example. In the arguments, KEY stands for
	// a key and CHANNEL for a channel: "HSET KEY f v", "SCAN 0". A command without KEY must do no harm
	// when it is run, because a server before Redis 7.0 can only be tried.
	Commands []string
	// Keys are the patterns of the keys that the program reads and writes: "session:*".
	Keys []string
	// Channels are the channels, or patterns of them, that it publishes on and subscribes to.
	Channels []string
	// Patterns are the patterns that it gives to PSUBSCRIBE. Redis allows each only to a user with a
	// rule for that very pattern, or for all channels.
	Patterns []string
}

func (r Rights) isZero() bool {
	return len(r.Commands)+len(r.Keys)+len(r.Channels)+len(r.Patterns) == 0
}

// MissingRights are the rights that Redis does not give us.
type MissingRights struct {
	User    string   // our Redis user
	Rules   []string // ACL rules that grant what is missing: "+time", "~session:*", "&lock:releases"
	Unknown []string // commands that the server does not have, such as a renamed one: "TIME"
}

// IsEmpty tells whether nothing is missing.
func (m MissingRights) IsEmpty() bool { return len(m.Rules)+len(m.Unknown) == 0 }

// Public says what is missing without the name of the user: "missing rights: +time +scan".
func (m MissingRights) Public() string {
	var parts []string
	if len(m.Rules) > 0 {
		parts = append(parts, "missing rights: "+strings.Join(m.Rules, " "))
	}
	if len(m.Unknown) > 0 {
		parts = append(parts, "commands that the server does not have: "+strings.Join(m.Unknown, " "))
	}
	return strings.Join(parts, "; ")
}

// String says what is missing, with the command that grants it.
func (m MissingRights) String() string {
	if len(m.Rules) == 0 {
		return m.Public()
	}
	return m.Public() + "; grant them with: ACL SETUSER " + m.User + " " + strings.Join(m.Rules, " ")
}

const psubscribe = "psubscribe"

//go:embed rights.lua
var rightsLua string

var rightsScript = redisx.NewScript(rightsLua)

// FindMissing asks every server that client writes to which of the rights it does not give to our
// user. It changes nothing. The error means that a server could not be asked; the result holds what
// the others said.
//
// Redis 7.0 and later tell about all rights, in one call of a script. Where that is not possible,
// an older server or one that refuses scripts, commands are queued in a transaction that is then
// discarded: those without a key, GET and SET for each key, and PUBLISH and SUBSCRIBE for each
// channel.
func (r Rights) FindMissing(ctx context.Context, client redis.UniversalClient) (MissingRights, error) {
	m := MissingRights{User: userOf(client)}
	var mu sync.Mutex
	err := redisx.ForEachMaster(ctx, client, func(ctx context.Context, master redis.UniversalClient) error {
		found, err := r.askServer(ctx, master)
		// Redis does not say whether PSUBSCRIBE or its pattern is what is missing, and takes no rule for
		// a pattern from a user who has all channels: that one may publish where nobody listens.
		isPatternMissing := slices.Contains(found, "+"+psubscribe) && master.Publish(ctx, "redisconn-probe", "").Err() != nil
		mu.Lock()
		defer mu.Unlock()
		for _, text := range found {
			m.add(text)
			if text == "+"+psubscribe && isPatternMissing {
				for _, p := range r.Patterns {
					m.add("&" + p)
				}
			}
		}
		return err
	})
	return m, err
}

// add adds one finding: an ACL rule, or ? and the name of a command.
func (m *MissingRights) add(text string) {
	list := &m.Rules
	if name, isUnknown := strings.CutPrefix(text, "?"); isUnknown {
		list, text = &m.Unknown, strings.ToUpper(name)
	}
	if !slices.Contains(*list, text) {
		*list = append(*list, text)
	}
}

// userOf returns the name of the Redis user whose rights client has.
func userOf(client redis.UniversalClient) string {
	user := ""
	if server := redisx.SingleServer(client); server != nil {
		user = server.Options().Username
	} else if cluster := redisx.ClusterOf(client); cluster != nil {
		user = cluster.Options().Username
	}
	if user == "" {
		return "default"
	}
	return user
}

// askServer returns what one server does not allow, in the form of MissingRights.add.
func (r Rights) askServer(ctx context.Context, server redis.UniversalClient) ([]string, error) {
	needs, err := json.Marshal(map[string]any{"commands": r.examples(), "keys": sampleNames(r.Keys), "channels": sampleNames(r.Channels)})
	if err != nil {
		return nil, err
	}
	reply, err := rightsScript.Do(ctx, server, nil, string(needs)).Slice()
	switch {
	case err != nil && !isRefusedCommand(err):
		return nil, err
	case err != nil, len(reply) == 0, reply[0] != int64(1):
		return r.tryServer(ctx, server)
	}
	var found []string
	for _, v := range reply[1:] {
		text, _ := v.(string)
		var n int
		if strings.HasPrefix(text, "~") || strings.HasPrefix(text, "&") {
			list := r.Keys
			if text[0] == '&' {
				list = r.Channels
			}
			if _, err := fmt.Sscan(text[1:], &n); err != nil || n < 1 || n > len(list) {
				continue
			}
			text = text[:1] + list[n-1]
		}
		found = append(found, text)
	}
	if !slices.ContainsFunc(found, func(text string) bool { return text[0] == '~' || text[0] == '&' }) {
		return found, nil
	}
	// Where no key is allowed, the script can not tell whether the command is. The server's words can.
	more, err := r.tryServer(ctx, server)
	return append(found, more...), err
}

// examples returns the commands with their arguments.
func (r Rights) examples() [][]string {
	all := make([][]string, 0, len(r.Commands)+len(r.Patterns))
	for _, c := range r.Commands {
		words := strings.Fields(c)
		words[0] = strings.ToLower(words[0])
		all = append(all, words)
	}
	for _, p := range r.Patterns {
		all = append(all, []string{psubscribe, p})
	}
	return all
}

// sampleNames returns a name for each pattern.
func sampleNames(patterns []string) []string {
	names := make([]string, len(patterns))
	for i, p := range patterns {
		names[i] = strings.ReplaceAll(p, "*", "redisconn-probe")
	}
	return names
}

// tryServer queues commands in a transaction, which Redis refuses at once when our user may not run
// them, and discards the transaction. A proxy that has no transactions is tried without keys and
// channels.
func (r Rights) tryServer(ctx context.Context, server redis.UniversalClient) ([]string, error) {
	single := redisx.SingleServer(server)
	if single == nil {
		return nil, nil
	}
	conn := single.Conn() // it is closed below: a SUBSCRIBE that was run would have changed it
	defer conn.Close()
	var found []string
	err := conn.Do(ctx, "multi").Err()
	if err != nil && !isReply(err) {
		return nil, err
	}
	isQueued := err == nil
	if isRefusedCommand(err) && slices.Contains(r.Commands, "MULTI") {
		found = append(found, "+multi")
	}
	type try struct {
		cmd  *redis.Cmd
		text string // what is missing if cmd is refused, but for the first letter of a command
	}
	var tries []try
	_, err = conn.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		queue := func(text string, args ...any) { tries = append(tries, try{pipe.Do(ctx, args...), text}) }
		for _, command := range r.examples() {
			if slices.Contains(command, "KEY") || slices.Contains(command, "CHANNEL") {
				continue
			}
			args := make([]any, len(command))
			for i := range command {
				args[i] = command[i]
			}
			queue("+"+command[0], args...)
		}
		if !isQueued {
			return nil
		}
		for i, name := range sampleNames(r.Keys) {
			queue("~"+r.Keys[i], "get", name)
			queue("~"+r.Keys[i], "set", name, "", "px", 1, "xx") // it would do nothing
		}
		for i, name := range sampleNames(r.Channels) {
			queue("&"+r.Channels[i], "publish", name, "")
			queue("&"+r.Channels[i], "subscribe", name)
		}
		pipe.Do(ctx, "discard")
		return nil
	})
	if err != nil && !isReply(err) {
		return nil, err
	}
	for _, t := range tries {
		switch err := t.cmd.Err(); {
		case isUnknownCommand(err):
			found = append(found, "?"+t.cmd.Name())
		case !isRefusedCommand(err):
		case t.text[0] != '+' && !strings.Contains(err.Error(), "channel") && !strings.Contains(err.Error(), "key"):
			found = append(found, "+"+t.cmd.Name())
		default:
			found = append(found, t.text)
		}
	}
	return found, nil
}

// isReply tells whether err is an answer of Redis.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// isRefusedCommand tells whether err says that our user lacks a right, or that the server does not
// have the command.
func isRefusedCommand(err error) bool { return redisx.IsForbidden(err) || isUnknownCommand(err) }

// isUnknownCommand tells whether err says that the server does not have the command.
func isUnknownCommand(err error) bool {
	return isReply(err) && strings.HasPrefix(strings.ToLower(err.Error()), "err unknown command")
}
