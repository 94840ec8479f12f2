package chat_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A report names a message of a channel that the player is in, and has its text from the history,
// not from the player.
func TestReport(t *testing.T) {
	t.Parallel()
	var got []chat.Report
	var failure error
	s, _ := node(t, redistest.Client(t), chat.Config{Reported: func(_ context.Context, r chat.Report) error {
		got = append(got, r)
		return failure
	}})
	sent, err := send(t, s, ann, say("well"))
	require.NoError(t, err)
	var out chat.Reported
	require.Eventually(t, func() bool { // the history is written behind the answer, because nothing is logged here
		out, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: sent.ID, Reason: "spam"})
		return err == nil
	}, 30*time.Second, time.Millisecond, "%v", err)
	require.Equal(t, chat.Reported{Channel: "global", ID: sent.ID}, out)
	require.Len(t, got, 1)
	require.Equal(t, "well", got[0].Message.Text)
	require.Equal(t, ann.UserID, got[0].By.UserID)
	require.Equal(t, "spam", got[0].Reason)

	_, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: "01JZZZZZZZZZZZZZZZZZZZZZZZ"})
	require.ErrorIs(t, err, fault.ErrNotFound)
	_, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: "x"})
	require.ErrorIs(t, err, fault.ErrInvalid)
	_, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "zone:1", ID: sent.ID})
	require.ErrorIs(t, err, chat.ErrNotInChannel)
	require.Len(t, got, 1)
	for _, again := range []string{sent.ID, strings.ToLower(sent.ID)} {
		out, err = s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: again, Reason: "still there"})
		require.NoError(t, err)
		require.Equal(t, chat.Reported{Channel: "global", ID: sent.ID}, out, "answered alike")
		require.Len(t, got, 1, "told once")
	}
	failure = errors.New("nobody takes it")
	_, err = s.Report(t.Context(), bob, chat.ReportRequest{Channel: "global", ID: strings.ToLower(sent.ID)})
	require.ErrorIs(t, err, failure, "a report that nobody has is not answered with ok")
	failure = nil
	_, err = s.Report(t.Context(), bob, chat.ReportRequest{Channel: "global", ID: strings.ToLower(sent.ID)})
	require.NoError(t, err)
	require.Len(t, got, 3, "another player's report is another one")
	require.Equal(t, sent.ID, got[2].ID)
}

// An id that a player invented costs a bounded search, however old it is and however long the
// history.
func TestAReportOfAnInventedMessageIsCheap(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	s, _ := node(t, rdb, chat.Config{Reported: func(context.Context, chat.Report) error { return nil }})
	pipe := rdb.Pipeline()
	begun := time.Now().Add(-time.Hour)
	const many = 3000
	for i := range many {
		at := begun.Add(time.Duration(i) * time.Second / 10) // five minutes
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.ChatHistory("global"), ID: strconv.FormatInt(at.UnixMilli(), 10) + "-1", Values: []any{"id", "other", "message", "{}"}})
	}
	_, err := pipe.Exec(t.Context())
	require.NoError(t, err)
	reads := &countedReads{}
	rdb.AddHook(reads)
	for _, at := range []time.Time{begun.Add(-time.Hour), begun, time.UnixMilli(0)} {
		reads.pages.Store(0)
		id := ulid.MustNew(ulid.Timestamp(at), ulid.DefaultEntropy()).String()
		_, err := s.Report(t.Context(), ann, chat.ReportRequest{Channel: "global", ID: id})
		require.ErrorIs(t, err, fault.ErrNotFound)
		require.LessOrEqual(t, reads.pages.Load(), int64(5), "%v", at)
	}
}

// countedReads counts the pages of histories that were read.
type countedReads struct{ pages atomic.Int64 }

func (*countedReads) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*countedReads) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *countedReads) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "xrange" {
			c.pages.Add(1)
		}
		return next(ctx, cmd)
	}
}
