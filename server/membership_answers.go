package server

import (
	"context"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/nodecall"
)

// This file does to this node's connections what another program asks for by the server API, on
// whichever node it asked.

// playersOf returns the players of this node's connections that the arguments name: of the main
// namespace, or for a disconnect of any.
func (n *node) playersOf(what string, args nodecall.MembershipArgs) (players []event.Player) {
	switch {
	case args.Conn == "" && what == nodecall.AskDisconnect:
		return n.gateway.ConnectedPlayers(args.UserID)
	case args.Conn == "":
		return n.gateway.Here(args.UserID)
	case what == nodecall.AskDisconnect:
		return n.gateway.PlayerOfAny(args.Conn)
	}
	if p, ok := n.gateway.Fresh(args.Conn); ok {
		return []event.Player{p}
	}
	return nil
}

// changeMembers calls change for each connection that raw names, and says what became of them.
func (n *node) changeMembers(what, by string, raw []byte, change func(p event.Player, args nodecall.MembershipArgs) error) (any, error) {
	var args nodecall.MembershipArgs
	if err := readArgs(raw, &args); err != nil {
		return nil, err
	}
	out := nodecall.Membership{}
	for _, p := range n.playersOf(what, args) {
		if err := change(p, args); err != nil {
			out.Refused = append(out.Refused, nodecall.RefusedMember{Conn: p.Conn, Code: fault.Of(err).Code})
			continue
		}
		out.Done++
	}
	if out.Done > 0 {
		n.log.Debug("connections changed by the server API", zap.String("what", what), zap.String("by", by), zap.Int("connections", out.Done))
	}
	return out, nil
}

func (n *node) answerDisconnect(_ context.Context, by string, raw []byte) (any, error) {
	return n.changeMembers(nodecall.AskDisconnect, by, raw, func(p event.Player, _ nodecall.MembershipArgs) error {
		n.gateway.Disconnect(p.Conn)
		return nil
	})
}

func (n *node) answerJoin(ctx context.Context, by string, raw []byte) (any, error) {
	return n.changeMembers(nodecall.AskJoin, by, raw, func(p event.Player, args nodecall.MembershipArgs) (err error) {
		if args.Channel != "" {
			_, err = n.features.chat.Join(ctx, p, chat.Channel{Channel: args.Channel})
		} else {
			_, err = n.gateway.Join(ctx, p.Conn, args.Room)
		}
		return err
	})
}

func (n *node) answerLeave(ctx context.Context, by string, raw []byte) (any, error) {
	return n.changeMembers(nodecall.AskLeave, by, raw, func(p event.Player, args nodecall.MembershipArgs) (err error) {
		if args.Channel != "" {
			_, err = n.features.chat.Leave(ctx, p, chat.Channel{Channel: args.Channel})
		} else {
			_, err = n.gateway.Leave(ctx, p.Conn, args.Room)
		}
		return err
	})
}
