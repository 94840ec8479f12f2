package redisbus

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// A pipeline holds the commands of one pipeline, to be used again and again: publishing allocates
// nothing for a message.
type pipeline struct {
	publishes []*publishCommand
	commands  []redis.Cmder
	counts    map[int]*redis.MapStringIntCmd // by message, for those that have countAlso; may be nil
}

var pipelinePool = sync.Pool{New: func() any { return new(pipeline) }}

// A publishCommand is a PUBLISH or SPUBLISH whose arguments can be replaced.
type publishCommand struct {
	*redis.IntCmd
	name    string
	channel string
	payload payload
}

func newPublishCommand() *publishCommand {
	c := &publishCommand{}
	c.IntCmd = redis.NewIntCmd(context.Background(), &c.name, &c.channel, &c.payload)
	return c
}

// NoRetry tells go-redis not to send the command again when the connection broke.
func (*publishCommand) NoRetry() bool { return true }

// A payload is bytes that go-redis takes as an argument without an allocation.
type payload []byte

// MarshalBinary returns the bytes.
func (b *payload) MarshalBinary() ([]byte, error) { return *b, nil }

// fillCommands makes the commands for messages.
func (x *pipeline) fillCommands(messages []queuedMessage, payloads []byte) {
	for len(x.publishes) < len(messages) {
		x.publishes = append(x.publishes, newPublishCommand())
	}
	for i := range messages {
		m, c := &messages[i], x.publishes[i]
		if c.name = "publish"; m.isSharded {
			c.name = "spublish"
		}
		c.channel, c.payload = m.channel, payloads[m.start:m.end]
		x.commands = append(x.commands, c)
		if m.countAlso == "" {
			continue
		}
		if x.counts == nil {
			x.counts = map[int]*redis.MapStringIntCmd{}
		}
		x.counts[i] = redis.NewMapStringIntCmd(context.Background(), "pubsub", "numsub", m.countAlso)
		x.commands = append(x.commands, x.counts[i])
	}
}

// releaseMessages forgets the messages, of which there were used, and gives the pipeline back.
func (x *pipeline) releaseMessages(used int) {
	for _, c := range x.publishes[:used] {
		c.channel, c.payload = "", nil
		c.SetErr(nil)
		c.SetVal(0)
	}
	clear(x.commands)
	x.commands, x.counts = x.commands[:0], nil
	pipelinePool.Put(x)
}
