package server

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// maxRightsChanges is how many changes of one kind may wait. With more of them, all members of
// channels are judged again, and the roles of further users are found out within five seconds.
const maxRightsChanges = 10_000

// A rightsMessage is what the game publishes on keys.RightsChanges.
type rightsMessage struct {
	UserID  string `json:"userId"`  // whose sessions were changed, or whose membership
	Channel string `json:"channel"` // whose members were changed
}

// rightsChanges are the changes that were published, and not followed yet.
type rightsChanges struct {
	changed redisx.Signal

	mu       sync.Mutex
	users    map[string]bool // guarded by mu
	channels map[string]bool // guarded by mu
}

// add notes a change.
func (c *rightsChanges) add(m rightsMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.UserID != "" && len(c.users) < maxRightsChanges {
		c.users[m.UserID] = true
	}
	if m.Channel != "" && len(c.channels) < maxRightsChanges {
		c.channels[m.Channel] = true
	}
	c.changed.Notify()
}

// take returns the changes so far, and forgets them.
func (c *rightsChanges) take() (users, channels []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	users, channels = slices.Collect(maps.Keys(c.users)), slices.Collect(maps.Keys(c.channels))
	c.users, c.channels = map[string]bool{}, map[string]bool{}
	return users, channels
}

// followRights makes changes of rights that the game publishes hold at once, until ctx ends.
// Without a message, or with one that is lost, they hold within five seconds.
func (n *node) followRights(ctx context.Context) error {
	changes := &rightsChanges{changed: redisx.NewSignal(), users: map[string]bool{}, channels: map[string]bool{}}
	var listening sync.WaitGroup
	listening.Go(func() {
		redisx.Subscribe(ctx, n.redis.client, keys.RightsChanges, redisx.SubscriptionHandlers{
			OnDown: func(err error) {
				n.log.Warn("changes of rights are not heard: they hold within five seconds", zap.Error(err))
			},
			OnMessage: func(payload string) {
				var m rightsMessage
				if err := json.Unmarshal([]byte(payload), &m); err != nil || m == (rightsMessage{}) {
					n.log.Warn("a change of rights could not be read", zap.Error(err))
					return
				}
				changes.add(m)
			},
		})
	})
	defer listening.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes.changed.C():
		}
		users, channels := changes.take()
		n.applyRights(ctx, users, channels)
	}
}

// applyRights reads the roles of users again, and judges the members of channels, and those of all
// channels in which the users are.
func (n *node) applyRights(ctx context.Context, users, channels []string) {
	all := map[string]bool{}
	for _, channel := range channels {
		all[channel] = true
	}
	for _, id := range users {
		n.gateway.RefreshUser(id)
		for _, p := range n.gateway.Here(id) {
			for _, room := range n.gateway.RoomsOf(p.Conn, chat.RoomPrefix) {
				all[strings.TrimPrefix(room, chat.RoomPrefix)] = true
			}
		}
	}
	if len(all) > 0 {
		if err := n.features.chat.Rejudge(ctx, slices.Collect(maps.Keys(all))...); err != nil && ctx.Err() == nil {
			n.chatFailed(err)
		}
	}
}
