package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

const (
	// rejudgeInterval is how often a node asks whether the members of channels may stay: often enough
	// that with the time of the asking, a player who may not is out within five seconds.
	rejudgeInterval = 4500 * time.Millisecond
	// rejudgeTimeout bounds the asking about all channels.
	rejudgeTimeout = 4 * time.Second
	// channelsAtOnce is how many channels are asked about at the same time.
	channelsAtOnce = 16
)

// Removed is sent to a connection that was taken out of a channel, as the event chat:left.
type Removed struct {
	Channel string `json:"channel"`
	// Code is why: NOT_IN_CHANNEL for a player who is no longer a member, CHAT_BANNED for one who was
	// banned. A channel that the game's own server wants the connection in, and that could not be
	// joined, has the code of chat:join: after UNAVAILABLE, TIMEOUT and INTERNAL the client may join
	// later.
	Code string `json:"code" validate:"oneof=NOT_IN_CHANNEL CHAT_BANNED TOO_MANY_CHANNELS UNAVAILABLE TIMEOUT INTERNAL"`
}

// watchMembers takes players out of channels in which they may not be any more, until ctx ends.
func (s *Service) watchMembers(ctx context.Context) {
	tick := time.NewTicker(rejudgeInterval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := s.Rejudge(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.cfg.Report(err)
		}
		failing = err != nil
	}
}

// Rejudge asks whether the players who are on this node in some channels, or without any in all,
// may still be there, and takes out those who may not. They are told so by chat:left. Where the
// Membership can not tell, everybody stays, and the error says so.
func (s *Service) Rejudge(ctx context.Context, channels ...string) error {
	if s.cfg.Membership == nil {
		return nil
	}
	if len(channels) == 0 {
		for _, room := range s.gateway.RoomsHere(RoomPrefix) {
			channels = append(channels, strings.TrimPrefix(room, RoomPrefix))
		}
	}
	standing, isStanding := s.cfg.Membership.(StandingMembership)
	ctx, cancel := context.WithTimeout(ctx, rejudgeTimeout)
	defer cancel()
	var asks errgroup.Group
	asks.SetLimit(channelsAtOnce)
	for _, channel := range channels {
		if !ValidChannel(channel) || isStanding && standing.IsOpen(channel) {
			continue
		}
		asks.Go(func() error { return s.rejudgeChannel(ctx, channel) })
	}
	return asks.Wait()
}

// rejudgeChannel is Rejudge for one channel.
func (s *Service) rejudgeChannel(ctx context.Context, channel string) error {
	players := s.gateway.MembersHere(RoomPrefix + channel)
	for i := range players {
		if len(players[i].Roles) == 0 {
			continue // only what somebody has can be taken away
		}
		if p, ok := s.gateway.Fresh(players[i].Conn); ok {
			players[i] = p
		}
	}
	if len(players) == 0 {
		return nil
	}
	may, err := s.judgeMembers(ctx, channel, players)
	if err != nil {
		return fmt.Errorf("chat: members of %s: %w", channel, err)
	}
	for i := range players {
		if !may[i] {
			err = errors.Join(err, s.removeConnection(ctx, players[i], channel, ErrNotInChannel.Code))
		}
	}
	return err
}

// judgeMembers says of each player whether the player may stay in a channel.
func (s *Service) judgeMembers(ctx context.Context, channel string, players []event.Player) (may []bool, err error) {
	if standing, ok := s.cfg.Membership.(StandingMembership); ok {
		return standing.MayStay(ctx, channel, players)
	}
	may = make([]bool, len(players))
	for i := range players {
		if may[i], err = s.cfg.Membership.MayJoin(ctx, players[i], channel); err != nil {
			return nil, err
		}
	}
	return may, nil
}

// JudgeReturn says whether a player who comes back with an earlier connection may still be in a
// channel: nil, or what the player is told. Errors: UNAVAILABLE.
func (s *Service) JudgeReturn(ctx context.Context, p event.Player, channel string) (*Removed, error) {
	if !ValidChannel(channel) {
		return nil, nil
	}
	err := s.checkMayJoin(ctx, p, channel)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, ErrBanned):
		return &Removed{Channel: channel, Code: ErrBanned.Code}, nil
	case errors.Is(err, fault.ErrForbidden):
		return &Removed{Channel: channel, Code: ErrNotInChannel.Code}, nil
	}
	return nil, err
}

// removeConnection takes a connection out of a channel in which it is, and tells it why.
func (s *Service) removeConnection(ctx context.Context, p event.Player, channel, code string) error {
	if !s.gateway.In(p.Conn, RoomPrefix+channel) {
		return nil
	}
	_, err := s.leaveChannel(ctx, p, channel)
	s.gateway.Emit(p.Conn, "chat:left", Removed{Channel: channel, Code: code})
	return err
}
