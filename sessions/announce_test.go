package sessions_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// announceToList is an AnnounceLua that keeps what is announced in a list.
const announceToList = "announce = function(message) redis.call('RPUSH', 'announced', message) end\n"

// announcedIDs are the sessions whose ends were announced, with their codes.
func announcedIDs(t *testing.T, rdb redis.UniversalClient) (all []string) {
	t.Helper()
	for _, text := range rdb.LRange(t.Context(), "announced", 0, -1).Val() {
		_, id, _ := strings.Cut(text, `"sessionId":"`)
		id, _, _ = strings.Cut(id, `"`)
		_, code, _ := strings.Cut(text, `"code":"`)
		code, _, _ = strings.Cut(code, `"`)
		all = append(all, id+" "+code)
	}
	return all
}

// refusesCommand fails each pipeline that has a command of this name, and counts scripts.
type refusesCommand struct {
	name    string
	scripts atomic.Int64
}

func (r *refusesCommand) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (r *refusesCommand) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			r.scripts.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (r *refusesCommand) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Name() == r.name }) {
			return errors.New("the connection broke")
		}
		for _, c := range cmds {
			if strings.HasPrefix(c.Name(), "eval") {
				r.scripts.Add(1)
			}
		}
		return next(ctx, cmds)
	}
}

// Only what ended is announced, once: neither the old id of a renewed session, nor a session that
// was destroyed before, is taken for one that expired, also when what followed in Redis failed.
func TestOnlyEndsAreAnnounced(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var later atomic.Int64
	store := sessions.New(rdb, sessions.Config{TTL: time.Hour, AnnounceLua: announceToList, Now: func() time.Time {
		return time.Now().Add(time.Duration(later.Load()))
	}})
	old, gone, expired := create(t, store, sessions.Options{}), create(t, store, sessions.Options{}), create(t, store, sessions.Options{})
	index := keys.UserSessions(old.UserID)
	rdb.AddHook(&refusesCommand{name: "zrem"})
	fresh, err := store.Renew(t.Context(), old.ID)
	require.NoError(t, err)
	require.NoError(t, store.Destroy(t.Context(), gone.ID, sessions.LoggedOut, ""))
	require.ElementsMatch(t, []string{fresh.ID, expired.ID}, rdb.ZRange(t.Context(), index, 0, -1).Val())

	require.NoError(t, rdb.Del(t.Context(), keys.Session(expired.ID)).Err())
	later.Store(int64(2 * time.Hour))
	_, err = store.CleanupExpired(t.Context())
	require.NoError(t, err)
	_, err = store.CleanupExpired(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{gone.ID + " " + sessions.LoggedOut, expired.ID + " " + sessions.Expired}, announcedIDs(t, rdb))
}

// A renewal that was cut off leaves no copy in the index, and so announces no end of it.
func TestARenewalThatIsCutOffAnnouncesNothing(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{AnnounceLua: announceToList})
	s := create(t, store, sessions.Options{})
	require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID)).Err())
	require.NoError(t, rdb.HSet(t.Context(), keys.Session(s.ID), "userId", s.UserID, "username", "ann").Err())
	rdb.AddHook(&refusesCommand{name: "publish"})
	rdb.AddHook(&refusesCommand{name: "xadd"}) // the pipeline of renew.lua
	rdb.AddHook(&refusesCommand{name: "zrem"}) // the one that removes the copy
	_, err := store.Renew(t.Context(), s.ID)
	require.Error(t, err)
	require.Equal(t, []string{s.ID}, rdb.ZRange(t.Context(), keys.UserSessions(s.UserID), 0, -1).Val())
}

// Activity that is stored after a session ended does not put it into the index again.
func TestActivityOfAnEndedSessionIsNotIndexed(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{AnnounceLua: announceToList})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	s := create(t, store, sessions.Options{TTL: time.Hour})
	onEnd, ends := end()
	h := tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.NoError(t, rdb.Del(t.Context(), keys.Session(s.ID), keys.UserSessions(s.UserID)).Err()) // what a Destroy does, unheard
	h.Touch()
	told(t, ends)
	require.Zero(t, rdb.Exists(t.Context(), keys.UserSessions(s.UserID)).Val())
}

// Expired sessions are announced many in one command, also those of different users; those of
// express-session, whose program may have given them another id, are not.
func TestExpiredSessionsAreAnnouncedInBatches(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{AnnounceLua: announceToList})
	const many = 450
	past := float64(time.Now().Add(-time.Minute).UnixMilli())
	for i := range many {
		user := "user" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		require.NoError(t, rdb.ZAdd(t.Context(), keys.UserSessions(user), redis.Z{Score: past, Member: "s" + user}).Err())
	}
	require.NoError(t, rdb.ZAdd(t.Context(), keys.UserSessions("web"), redis.Z{Score: past, Member: sessions.ExpressID("web")}).Err())
	counted := &refusesCommand{}
	rdb.AddHook(counted)
	done, err := store.CleanupExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, many+1, done.Expired)
	require.Len(t, announcedIDs(t, rdb), many)
	require.Less(t, counted.scripts.Load(), int64(many/5), "each page of keys is a few commands")
	require.Empty(t, rdb.Keys(t.Context(), keys.UserSessions("*")).Val())
}
