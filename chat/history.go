package chat

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	defaultPageLength = 50
	// maxPerMillisecond bounds a page that consists of the messages of one channel in one millisecond.
	maxPerMillisecond = 1000
)

// HistoryQuery is the part of a channel's history to read.
type HistoryQuery struct {
	Channel string `json:"channel" validate:"required"`
	// Before is a Unix time in ms: only messages before that time are returned. 0 means now.
	Before int64 `json:"before,omitempty" validate:"min=0,max=9007199254740991"`
	// Limit is how many messages to return; 0 means 50.
	Limit int `json:"limit,omitempty" validate:"min=0,max=100"`
}

// History answers chat:history.
type History struct {
	Messages []Message `json:"messages"` // newest last
	// Next is what to send as before to get the previous page; absent when there is none.
	Next int64 `json:"next,omitzero"`
}

// History reads the latest messages of a channel that the caller is in. Reading page after page
// misses no message: a page never splits the messages of one millisecond, so it may hold a few
// messages more or fewer than the limit. An entry that cannot be read is left out and reported.
// Errors: INVALID, NOT_IN_CHANNEL, UNAVAILABLE.
func (s *Service) History(ctx context.Context, p event.Player, in HistoryQuery) (History, error) {
	if _, err := s.roomOfMember(ctx, p, in.Channel); err != nil {
		return History{}, err
	}
	if in.Limit == 0 {
		in.Limit = defaultPageLength
	}
	page, next, err := s.journal.readHistoryPage(ctx, in.Channel, in.Before, in.Limit)
	if err != nil {
		return History{}, redisx.WrapFault(ctx, feature, "history of "+in.Channel, err)
	}
	out := History{Messages: make([]Message, 0, len(page)), Next: next}
	for _, e := range slices.Backward(page) {
		m, err := decodeMessage(e)
		if err != nil {
			s.cfg.Report(&redisx.UnreadableError{Key: keys.ChatHistory(in.Channel), Entry: e.ID, Err: err})
			continue
		}
		out.Messages = append(out.Messages, m)
	}
	return out, nil
}

// errNoMessageID means that an entry of a history is JSON, and no message.
var errNoMessageID = errors.New("it has no id")

// decodeMessage decodes an entry of a history.
func decodeMessage(e redis.XMessage) (m Message, err error) {
	text, _ := e.Values["message"].(string)
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return Message{}, err
	}
	if m.ID == "" {
		return Message{}, errNoMessageID
	}
	return m, nil
}

// readHistoryPage returns the entries before a time in Unix ms, newest first. next is the time for
// the next page, or 0 when there are no older entries.
func (j *journal) readHistoryPage(ctx context.Context, channel string, before int64, limit int) (page []redis.XMessage, next int64, err error) {
	if j.rdb == nil {
		return nil, 0, fault.Unavailable(feature, redisx.RetryAfter, errRedisPaused)
	}
	if !j.keepsHistory() {
		return nil, 0, nil
	}
	key := keys.ChatHistory(channel)
	to, from := "+", strconv.FormatInt(j.oldestShown(), 10)
	if before > 0 {
		to = strconv.FormatInt(before-1, 10)
	}
	page, err = j.rdb.XRevRangeN(ctx, key, to, from, int64(limit)+1).Result()
	if err != nil || len(page) <= limit {
		return page, 0, err
	}
	oldest, older := entryMillis(page[limit-1]), entryMillis(page[limit])
	page = page[:limit]
	if oldest != older {
		return page, parseMillis(oldest), nil
	}
	// The page would split a millisecond: leave out what it has of that millisecond.
	complete := slices.IndexFunc(page, func(e redis.XMessage) bool { return entryMillis(e) == oldest })
	if complete > 0 {
		return page[:complete], parseMillis(entryMillis(page[complete-1])), nil
	}
	// All entries of the page are from that millisecond: return the whole millisecond.
	page, err = j.rdb.XRevRangeN(ctx, key, oldest, oldest, maxPerMillisecond).Result()
	return page, parseMillis(oldest), err
}

// oldestShown returns the Unix time in ms before which messages are not shown.
func (j *journal) oldestShown() int64 { return j.cfg.Now().Add(-j.cfg.HistoryAge).UnixMilli() }

// entryMillis returns the time of a stream's entry: the part of its id before the dash, Unix ms.
func entryMillis(e redis.XMessage) string {
	ms, _, _ := strings.Cut(e.ID, "-")
	return ms
}

func parseMillis(ms string) int64 {
	n, _ := strconv.ParseInt(ms, 10, 64) // it comes from the id of a stream's entry, so it is a number
	return n
}

//go:embed remove_message.lua
var removeMessageLua string

var removeMessageScript = redisx.NewScript(record.Functions + removeMessageLua)

// removeMessage deletes the message of answer from its history. at is the time of its id. With an
// idempotency key the script records answer. Errors: errNoMessage; errAlreadyDone, then answer is
// what it was the first time; once.ErrLost.
func (j *journal) removeMessage(ctx context.Context, at time.Time, answer *Deleted) error {
	if j.rdb == nil {
		return errNoMessage
	}
	entry, err := j.findEntry(ctx, answer.Channel, answer.ID, at)
	if err != nil {
		return err
	}
	removeKeys, args, claim := []string{keys.ChatHistory(answer.Channel)}, []any{entry}, event.ClaimOf(ctx)
	if claim != nil {
		text, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		removeKeys, args = append(removeKeys, claim.Record), append(args, once.Args(claim, text)...)
	}
	reply, err := removeMessageScript.Do(ctx, j.rdb, removeKeys, args...).StringSlice()
	switch {
	case err != nil:
		return err
	case reply[0] == "nothing":
		return errNoMessage
	case reply[0] != "removed":
		if err := once.ReadCheck(claim, reply, answer); err != nil {
			return err
		}
		return errAlreadyDone
	case claim != nil:
		claim.MarkRecorded()
	}
	return nil
}

const (
	findPage = 200
	// maxFindPages bounds the search for a message, and so what a player's invented ids cost.
	maxFindPages = 5
	// maxClockAhead is how far the clock of the node that wrote before may have been ahead.
	maxClockAhead = 10 * time.Minute
)

// findEntry returns the id of a message's entry in a history, "" when it is not there. at is the
// time of the message's id.
func (j *journal) findEntry(ctx context.Context, channel, id string, at time.Time) (entry string, err error) {
	// The entry has the time of its message, or a later one when another node's clock was ahead.
	from, to := strconv.FormatInt(at.UnixMilli(), 10), strconv.FormatInt(at.Add(maxClockAhead).UnixMilli(), 10)
	for range maxFindPages {
		page, err := j.rdb.XRangeN(ctx, keys.ChatHistory(channel), from, to, findPage).Result()
		if err != nil {
			return "", err
		}
		for _, e := range page {
			if e.Values["id"] == id {
				return e.ID, nil
			}
		}
		if len(page) < findPage {
			return "", nil
		}
		from = "(" + page[len(page)-1].ID
	}
	return "", nil
}

// errNoMessage answers chat:delete when the message is not in the history.
var errNoMessage = fault.New("NOT_FOUND", "There is no such message.")
