package combat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

const (
	// notifierQueueLength is how many players may wait to be told of their challenges. When it is
	// full, a player is left out until they connect again.
	notifierQueueLength = 4096
	// notifierBatchLength is how many players are served in one round trip at most.
	notifierBatchLength = 128
)

// A Notifier observes the connections of a gateway. It sends players who connect, or choose another
// character, combat:challenged for the open challenges to their character: a client that lost its
// connection can still answer them, on any node.
type Notifier struct {
	service   *Service
	connected chan event.Player
}

// NewNotifier makes a notifier, which sends nothing until Run is called.
func NewNotifier(s *Service) *Notifier {
	return &Notifier{service: s, connected: make(chan event.Player, notifierQueueLength)}
}

// Connected puts a player on the queue. It does not wait.
func (n *Notifier) Connected(p event.Player) {
	if p.CharacterID == "" {
		return
	}
	select {
	case n.connected <- p:
	default:
	}
}

// Recovered does nothing: the client has heard everything, or it was sent again.
func (n *Notifier) Recovered(event.Player, []string) {}

// CharacterChanged does the same as Connected: another character has other challenges.
func (n *Notifier) CharacterChanged(p event.Player) { n.Connected(p) }

// Disconnected does nothing: a challenge stays open until it expires.
func (n *Notifier) Disconnected(event.Player) {}

// Run serves the queue, many players in one round trip, until ctx ends. It returns nil.
func (n *Notifier) Run(ctx context.Context) error {
	for {
		var players []event.Player
		select {
		case p := <-n.connected:
			players = append(players, p)
		case <-ctx.Done():
			return nil
		}
		for hasMore := true; hasMore && len(players) < notifierBatchLength; {
			select {
			case p := <-n.connected:
				players = append(players, p)
			default:
				hasMore = false
			}
		}
		if err := n.resendChallenges(ctx, players); err != nil && ctx.Err() == nil && !errors.Is(err, fault.ErrUnavailable) {
			n.service.cfg.Report(fmt.Errorf("combat: notify %d players who came back: %w", len(players), err))
		}
	}
}

// resendChallenges sends players the open challenges to their characters.
func (n *Notifier) resendChallenges(ctx context.Context, players []event.Player) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	characters := make([]string, len(players))
	for i, p := range players {
		characters[i] = p.CharacterID
	}
	all, err := n.service.store.listChallenges(ctx, characters)
	for i, challenges := range all {
		for _, c := range challenges {
			n.service.castToUser(ctx, players[i].UserID, "combat:challenged", c)
		}
	}
	return err
}
