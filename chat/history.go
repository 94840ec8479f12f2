package chat

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	pageSize = 50
	// moment bounds the messages of one channel in one millisecond that a page is made
	// longer for.
	moment = 1000
)

// Span is the part of a history that a player wants to read.
type Span struct {
	Channel string `json:"channel" validate:"required"`
	// Before is a Unix time in ms: only messages from before it are wanted; 0 is now.
	Before int64 `json:"before,omitempty" validate:"min=0,max=9007199254740991"`
	// Limit is how many; 0 is 50.
	Limit int `json:"limit,omitempty" validate:"min=0,max=100"`
}

// History answers, newest last.
type History struct {
	Messages []Message `json:"messages"`
	// Next is the Before of the page with the messages that came before these; absent when
	// there are none.
	Next int64 `json:"next,omitzero"`
}

// History reads what was said in a channel, by those who may be in it. A page ends between
// two milliseconds, so that no message is missed by reading page after page; so it may hold
// a few messages fewer or more than were asked for. Errors: INVALID, NOT_IN_CHANNEL, UNAVAILABLE.
func (s *Service) History(ctx context.Context, p event.Player, in Span) (History, error) {
	if _, err := s.present(ctx, p, in.Channel); err != nil {
		return History{}, err
	}
	if in.Limit == 0 {
		in.Limit = pageSize
	}
	page, next, err := s.journal.read(ctx, in.Channel, in.Before, in.Limit)
	if err != nil {
		return History{}, redisx.WrapFault(ctx, feature, "history of "+in.Channel, err)
	}
	out := History{Messages: make([]Message, 0, len(page)), Next: next}
	for _, e := range slices.Backward(page) {
		m, err := readMessage(e)
		if err != nil {
			return History{}, fmt.Errorf("chat: history of %s: %s: %w", in.Channel, e.ID, err)
		}
		out.Messages = append(out.Messages, m)
	}
	return out, nil
}

func readMessage(e redis.XMessage) (m Message, err error) {
	text, _ := e.Values["message"].(string)
	return m, json.Unmarshal([]byte(text), &m)
}

// read gives the entries before a moment, newest first, and the moment of the oldest when
// there are more before it.
func (j *journal) read(ctx context.Context, channel string, before int64, limit int) (page []redis.XMessage, next int64, err error) {
	if j.rdb == nil {
		return nil, 0, fault.Unavailable(feature, redisx.RetryAfter, errAway)
	}
	if !j.keeps() {
		return nil, 0, nil
	}
	key := keys.ChatHistory(channel)
	newest, oldest := "+", strconv.FormatInt(j.oldest(), 10)
	if before > 0 {
		newest = strconv.FormatInt(before-1, 10)
	}
	page, err = j.rdb.XRevRangeN(ctx, key, newest, oldest, int64(limit)+1).Result()
	if err != nil || len(page) <= limit {
		return page, 0, err
	}
	first, beyond := millisecond(page[limit-1]), millisecond(page[limit])
	page = page[:limit]
	if first != beyond {
		return page, parse(first), nil
	}
	whole := slices.IndexFunc(page, func(e redis.XMessage) bool { return millisecond(e) == first })
	if whole > 0 {
		return page[:whole], parse(millisecond(page[whole-1])), nil
	}
	page, err = j.rdb.XRevRangeN(ctx, key, first, first, moment).Result() // all in one millisecond
	return page, parse(first), err
}

// oldest is the Unix time in ms before which nothing is shown.
func (j *journal) oldest() int64 { return j.cfg.Now().Add(-j.cfg.HistoryAge).UnixMilli() }

func millisecond(e redis.XMessage) string {
	ms, _, _ := strings.Cut(e.ID, "-")
	return ms
}

func parse(ms string) int64 {
	n, _ := strconv.ParseInt(ms, 10, 64) // it is the id of a stream's entry
	return n
}

// remove takes one message out of the history; found is false when it is not there.
func (j *journal) remove(ctx context.Context, channel, id string, at time.Time) (found bool, err error) {
	if j.rdb == nil {
		return false, nil
	}
	key := keys.ChatHistory(channel)
	// It stands at its own time, or later when another node's clock was ahead.
	for from := strconv.FormatInt(at.UnixMilli(), 10); ; {
		page, err := j.rdb.XRangeN(ctx, key, from, "+", 200).Result()
		if err != nil {
			return false, err
		}
		for _, e := range page {
			if e.Values["id"] == id {
				n, err := j.rdb.XDel(ctx, key, e.ID).Result()
				return n > 0, err
			}
		}
		if len(page) < 200 {
			return false, nil
		}
		from = "(" + page[len(page)-1].ID
	}
}

// errNoMessage is what chat:delete says of a message that is not in the history.
var errNoMessage = fault.New("NOT_FOUND", "There is no such message.")
