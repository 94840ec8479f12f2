package trade_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
)

// crowd are users who each play the character of the same name, unless the key plays:<user> names
// another; a script can read that key.
type crowd struct{ selfPlayed }

func (crowd) CharacterLua() string {
	return "local function character_of(user) return redis.call('GET', 'plays:' .. user) or user end\n"
}

// Gifts of many callers run in one script. Gifts that are refused move nothing and do not affect
// the others, nor does a key that two callers use at once, nor an inventory that all give from.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	t.Run("a server", func(t *testing.T) {
		t.Parallel()
		w, m := newLockedTown(t)
		require.NoError(t, w.rdb.ConfigResetStat(t.Context()).Err())
		testManyAtOnce(t, w, m)
		stats, err := w.rdb.Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		require.Regexp(t, `cmdstat_evalsha:calls=\d{2},`, stats, "they shared calls")
	})
	t.Run("in this process", func(t *testing.T) {
		t.Parallel()
		w, m := newLockedTownOn(t, redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()}))
		testManyAtOnce(t, w, m)
	})
}

func testManyAtOnce(t *testing.T, w *town, m managed) {
	w.Service = trade.New(w.rdb, m, crowd{}, w.told, trade.Config{})
	const users = 12
	who := func(i int) string { return fmt.Sprint("u", i%users) }
	for i := range users {
		w.mint(who(i), "apple", 30, 0)
	}
	w.mint("full", "apple", trade.Max, 0)
	require.NoError(t, w.rdb.HSet(t.Context(), keys.Inventory("odd"), "item:apple", "many").Err())
	w.mint("pear", "pear", 1, 0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[string]int{}
	ids := map[string]map[string]bool{}
	for i := range 40 * users {
		give, to, key := some("apple", 1), who(i+1+i%5), fmt.Sprint("k", i)
		switch i % 8 {
		case 3:
			give = some("apple", 1000) // more than anybody has
		case 4:
			to = "full"
		case 5:
			to = "odd"
		case 6:
			give = some("pear", 1) // which only one had
		case 7:
			key = fmt.Sprint("twice", i%users)
			to, give = who(i+1), some("apple", 2)
		}
		if to == who(i) {
			to = who(i + 1)
		}
		wg.Go(func() {
			done, err := w.Execute(t.Context(), event.Player{UserID: who(i), CharacterID: who(i)}, gift(to, key, 0, give))
			mu.Lock()
			defer mu.Unlock()
			codes[code(err)]++
			if i%8 == 7 && err == nil {
				of := who(i) + key
				if ids[of] == nil {
					ids[of] = map[string]bool{}
				}
				ids[of][done.TradeID] = true
			}
		})
	}
	wg.Wait()
	require.Equal(t, 60, codes["TRADE_OVERFLOW"], codes)
	require.Equal(t, 60, codes["INTERNAL"], "an inventory that makes no sense: %v", codes)
	require.Equal(t, 120, codes["INSUFFICIENT_ITEMS"], codes)
	require.Equal(t, 240, codes[""], codes)
	for of, all := range ids {
		require.Len(t, all, 1, of)
	}
	require.Equal(t, "many", w.rdb.HGet(t.Context(), keys.Inventory("odd"), "item:apple").Val())
	require.NoError(t, w.rdb.Del(t.Context(), keys.Inventory("odd")).Err())
	require.Equal(t, int64(180+len(ids)), w.clean().Trades)
}

// Goods that can not be written down do not move.
func TestWhatCanNotBeRecordedDoesNotMove(t *testing.T) {
	t.Parallel()
	for what, key := range map[string]string{"ledger": keys.TradeLedger, "index": keys.TradeLedgerIndex} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, _ := newLockedTown(t)
			w.mint("anna", "apple", 9, 7)
			w.mint("bobo", "apple", 1, 50)
			o := w.barter()
			require.NoError(t, w.rdb.Del(t.Context(), key).Err())
			require.NoError(t, w.rdb.SAdd(t.Context(), key, "of another kind").Err())
			_, err := w.Execute(t.Context(), ann, gift("bob", "k", 7, some("apple", 9)))
			require.Equal(t, "INTERNAL", code(err))
			_, err = w.Accept(t.Context(), bob, agree(o))
			require.Equal(t, "INTERNAL", code(err))
			_, err = w.Mint(t.Context(), grant("anna", "apple", 1, 1))
			require.Error(t, err)
			w.has("anna", "9 apple, 7 gold")
			w.has("bobo", "1 apple, 50 gold")
			again, err := w.State(t.Context(), ann, trade.Ask{TradeID: o.TradeID})
			require.NoError(t, err)
			require.Equal(t, trade.Open, again.Status)
		})
	}
}

// If the script cannot ask whether an item is known, nothing moves, not even of the side that it
// took from before.
func TestWhatCanNotBeKnownDoesNotMove(t *testing.T) {
	t.Parallel()
	w, _ := newLockedTown(t)
	w.mint("anna", "apple", 2, 0)
	w.mint("bobo", "sword", 1, 9)
	o := w.offer(bob, w.propose(ann, "bob"), 0, some("sword", 1))
	o = w.accept(ann, w.offer(ann, o, 0, some("apple", 2)))
	_, err := w.Execute(t.Context(), bob, gift("zoe", "k", 0, some("sword", 1)))
	require.NoError(t, err)
	require.NoError(t, w.rdb.Rename(t.Context(), keys.MintedItems, "items").Err())
	require.NoError(t, w.rdb.Set(t.Context(), keys.MintedItems, "of another kind", 0).Err())
	_, err = w.Accept(t.Context(), bob, agree(o))
	require.Equal(t, "INTERNAL", code(err))
	_, err = w.Execute(t.Context(), ann, gift("zoe", "k", 0, some("apple", 1), some("pear", 1)))
	require.Equal(t, "INTERNAL", code(err))
	w.has("anna", "2 apple, 0 gold")
	require.NoError(t, w.rdb.Rename(t.Context(), "items", keys.MintedItems).Err())
	_, err = w.Accept(t.Context(), bob, agree(o))
	require.Equal(t, "INSUFFICIENT_ITEMS", code(err))
	w.has("anna", "2 apple, 0 gold")
	w.clean()
}

// A line that fails undoes the lines before it.
func TestAllLinesOrNone(t *testing.T) {
	t.Parallel()
	w, _ := newLockedTown(t)
	w.mint("anna", "apple", 9, 7)
	w.mint("anna", "pear", 5, 0)
	w.mint("anna", "zinc", 1, 0)
	w.mint("bobo", "zinc", trade.Max, 0)
	w.mint("bobo", "apple", 1, 0)
	for _, g := range []trade.Gift{
		gift("bob", "a", 8, some("apple", 9), some("pear", 5)),
		gift("bob", "b", 0, some("apple", 9), some("pear", 6)),
		gift("bob", "c", 7, some("apple", 9), some("pear", 5), some("zinc", 1)),
		gift("bob", "d", 7, some("apple", 9), some("quince", 1)),
	} {
		_, err := w.Execute(t.Context(), ann, g)
		require.Error(t, err)
		w.has("anna", "9 apple, 5 pear, 1 zinc, 7 gold")
		w.has("bobo", fmt.Sprintf("1 apple, %d zinc, 0 gold", trade.Max))
	}
	require.NoError(t, w.rdb.HSet(t.Context(), keys.Inventory("bobo"), "item:pear", "some").Err())
	_, err := w.Execute(t.Context(), ann, gift("bob", "odd", 7, some("apple", 9), some("pear", 5)))
	require.Equal(t, "INTERNAL", code(err))
	require.NoError(t, w.rdb.HDel(t.Context(), keys.Inventory("bobo"), "item:pear").Err())
	w.has("anna", "9 apple, 5 pear, 1 zinc, 7 gold")
	w.has("bobo", fmt.Sprintf("1 apple, %d zinc, 0 gold", trade.Max))
	_, err = w.Execute(t.Context(), ann, gift("bob", "e", 7, some("apple", 9), some("pear", 5)))
	require.NoError(t, err)
	w.has("anna", "1 zinc, 0 gold")
	w.clean()
}

// The receiver's character is looked up once and then only checked: a gift goes to the character
// that they play now.
func TestWhomTheyPlayNow(t *testing.T) {
	t.Parallel()
	w, m := newLockedTown(t)
	store := sessions.New(w.rdb, sessions.Config{})
	w.Service = trade.New(w.rdb, m, store, w.told, trade.Config{})
	w.mint("anna", "apple", 9, 0)
	login := func(character string) (id string) {
		t.Helper()
		session, err := store.Create(t.Context(), "bob", "Bob", nil, sessions.Options{CharacterID: character})
		require.NoError(t, err)
		return session.ID
	}
	end := func(id string) { require.NoError(t, store.Destroy(t.Context(), id, "SESSION_REVOKED", "test")) }
	count := &trips{}
	w.rdb.AddHook(count)
	keys := 0
	gives := func(to string, trips int64) {
		t.Helper()
		keys++
		count.n.Store(0)
		done, err := w.Execute(t.Context(), ann, gift("bob", fmt.Sprint(keys), 0, some("apple", 1)))
		require.NoError(t, err)
		require.Equal(t, to, done.Parties[1].CharacterID)
		if trips > 0 {
			require.Equal(t, trips, count.n.Load())
		}
	}
	knight := login("knight")
	gives("knight", 0) // the server learns the scripts
	gives("knight", 1)
	mage := login("mage")
	gives("mage", 3) // the script saw it, one question, the script
	gives("mage", 1)
	_, err := store.UpdateCharacter(t.Context(), mage, "rogue")
	require.NoError(t, err)
	gives("rogue", 3)
	end(mage)
	gives("knight", 3)
	gives("knight", 1)
	end(knight)
	gives("rogue", 3) // nobody is logged in: the last that was stored
	gives("rogue", 1)
	w.has("knight", "4 apple, 0 gold")
	w.has("rogue", "3 apple, 0 gold")
	w.clean()
}

// silent are users whose characters a script cannot know.
type silent struct{ selfPlayed }

func (silent) CharacterLua() string { return "local function character_of() return false end\n" }

// If the script cannot tell which character a user plays, it is asked once and not again.
func TestAScriptThatCanNotTellIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	w, m := newLockedTown(t)
	w.Service = trade.New(w.rdb, m, silent{}, w.told, trade.Config{})
	w.mint("anna", "apple", 9, 0)
	count := &trips{}
	give := func(key string) int64 {
		t.Helper()
		count.n.Store(0)
		_, err := w.Execute(t.Context(), ann, gift("bob", key, 0, some("apple", 1)))
		require.NoError(t, err)
		return count.n.Load()
	}
	give("warm")
	w.rdb.AddHook(count)
	require.Equal(t, int64(2), give("a"), "the script, and the script without the question")
	for _, key := range []string{"b", "c", "d"} {
		require.Equal(t, int64(1), give(key))
	}
	w.has("bob", "5 apple, 0 gold")
	w.clean()
}
