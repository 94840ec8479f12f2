package chat_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// reports collects the entries that were left out.
type reports struct {
	mu      sync.Mutex
	entries []string // guarded by mu
}

func (r *reports) report(err error) {
	var left *redisx.UnreadableError
	if errors.As(err, &left) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.entries = append(r.entries, left.Entry)
	}
}

// Entries that cannot be read are left out of a history and reported; the others are shown.
func TestUnreadableEntriesAreLeftOut(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	left := &reports{}
	s := chat.New(rdb, newRooms(), chat.Config{Report: left.report})
	t.Cleanup(s.Close)
	_, err := s.Join(t.Context(), ann, chat.Channel{Channel: "global"})
	require.NoError(t, err)
	say := func(text string, entries int64) { // and waits until it is written
		_, err := s.Send(t.Context(), ann, chat.Draft{Channel: "global", Text: text})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return rdb.XLen(t.Context(), keys.ChatHistory("global")).Val() == entries }, 15*time.Second, time.Millisecond)
	}
	say("before", 1)
	forms := []string{
		``, `{`, `{"id":"x","text":"cut o`, `null`, `{}`, `[]`, `7`, `"text"`, `{"id":7}`,
		`{"id":"x","at":"now"}`, `{"id":"x","from":"ann"}`, "\xff\xfe",
	}
	for _, form := range forms {
		require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.ChatHistory("global"), Values: []any{"id", "x", "message", form}}).Err())
	}
	require.NoError(t, rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.ChatHistory("global"), Values: []any{"other", "field"}}).Err())
	say("after", int64(len(forms))+3)
	h, err := s.History(t.Context(), ann, chat.HistoryQuery{Channel: "global"})
	require.NoError(t, err)
	var texts []string
	for _, m := range h.Messages {
		texts = append(texts, m.Text)
	}
	require.Equal(t, []string{"before", "after"}, texts)
	require.Len(t, left.entries, len(forms)+1)
}

// A rule that cannot be read is left out and stays in Redis; the others are in force.
func TestAnUnreadableRuleIsLeftOut(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	require.NoError(t, rdb.HSet(t.Context(), keys.ChatRules, "mute global cat", `{"until":"soon"}`, "slow global", `{`,
		"mute global bob", `{"until":9007199254740991}`, ":version", 1).Err())
	left := &reports{}
	s := chat.New(rdb, newRooms(), chat.Config{Report: left.report})
	t.Cleanup(s.Close)
	_, err := s.Join(t.Context(), bob, chat.Channel{Channel: "global"})
	require.NoError(t, err)
	_, err = s.Send(t.Context(), bob, chat.Draft{Channel: "global", Text: "hi"})
	require.ErrorIs(t, err, chat.ErrMuted)
	require.ElementsMatch(t, []string{"mute global cat", "slow global"}, left.entries)
	require.True(t, rdb.HExists(t.Context(), keys.ChatRules, "mute global cat").Val())
}
