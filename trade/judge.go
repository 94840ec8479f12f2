package trade

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// A Judgement says which durability holds, and why.
type Judgement struct {
	Durability Durability
	Why        string // for an operator, in a few words
}

// retryBetter is how often JudgeDurability tries for more than what holds, where Redis says the
// same of itself as before.
const retryBetter = time.Minute

// durabilityJudge is what is known with Config.Durability Auto.
type durabilityJudge struct {
	inForce atomic.Pointer[Judgement]

	mu    sync.Mutex  // one judgement at a time
	facts serverFacts // on which inForce was judged; guarded by mu
	tried time.Time   // when Redis was last tried; guarded by mu
}

// serverFacts are what servers say of themselves by INFO. The zero value stands for servers that do
// not answer INFO, or do not let our user ask.
type serverFacts struct {
	known    bool
	servers  string // the run ids of all masters
	appends  bool   // every master keeps an append-only file
	replicas bool   // every master has a replica
}

// durabilityInForce returns how safely a trade is stored before it is answered now.
func (c *core) durabilityInForce() Durability {
	if c.cfg.Durability != Auto {
		return cmp.Or(c.cfg.Durability, None)
	}
	if j := c.judged.inForce.Load(); j != nil {
		return j.Durability
	}
	return None
}

// JudgeDurability returns which durability holds. With Auto it first asks Redis what it can do, and
// the best of it holds from then on: Fsync where every server has an append-only file and confirms
// a write by WAITAOF, else Wait where a replica of every server confirms one, else None. What INFO
// says decides what is tried, and a trial decides what holds. After an error, what held before
// still holds.
//
// While Redis says the same of itself, it is tried again only once a minute, for more than what
// holds. A disk or a replica that is slow for a moment does not lower what a trade waits for.
func (s *Service) JudgeDurability(ctx context.Context) (Judgement, error) {
	if s.cfg.Durability != Auto {
		return Judgement{s.durabilityInForce(), "configured"}, nil
	}
	j := &s.judged
	j.mu.Lock()
	defer j.mu.Unlock()
	held := j.inForce.Load()
	facts, err := s.askServers(ctx)
	if err != nil {
		return Judgement{s.durabilityInForce(), "Redis does not answer"}, wrapRedisError(err, "trade: durability")
	}
	if held != nil && facts == j.facts && (held.Durability == Fsync || time.Since(j.tried) < retryBetter) {
		return *held, nil
	}
	found, err := s.findBest(ctx, facts)
	if err != nil {
		return Judgement{s.durabilityInForce(), "Redis does not answer"}, err
	}
	isKept := held != nil && facts.known && facts.servers == j.facts.servers && !facts.exclude(held.Durability)
	if isKept && !found.isMoreThan(held.Durability) {
		found = *held
	}
	j.facts, j.tried = facts, time.Now()
	j.inForce.Store(&found)
	return found, nil
}

// exclude tells whether the servers say that they cannot do d.
func (f serverFacts) exclude(d Durability) bool {
	return f.known && (d == Fsync && !f.appends || d == Wait && !f.replicas)
}

// isMoreThan tells whether a judgement promises more than d does.
func (j Judgement) isMoreThan(d Durability) bool {
	rank := map[Durability]int{None: 0, Wait: 1, Fsync: 2}
	return rank[j.Durability] > rank[d]
}

// findBest tries what the facts do not exclude, the best first.
func (c *core) findBest(ctx context.Context, facts serverFacts) (Judgement, error) {
	var lacks []string
	for _, level := range []struct {
		Durability
		has   string // what Redis has where the trial succeeds
		lacks string // what it lacks where it is excluded
	}{
		{Fsync, "Redis confirms that a write is in its append-only file", "it keeps no append-only file"},
		{Wait, "a replica confirms each write", "it has no replica"},
	} {
		if facts.exclude(level.Durability) {
			lacks = append(lacks, level.lacks)
			continue
		}
		err := c.tryDurability(ctx, level.Durability)
		switch {
		case err == nil:
			return Judgement{level.Durability, strings.Join(append([]string{level.has}, lacks...), "; ")}, nil
		case !errors.Is(err, ErrDurability):
			return Judgement{}, err
		}
		lacks = append(lacks, level.whyNot(err))
	}
	return Judgement{None, "Redis can do no more: " + strings.Join(lacks, "; ")}, nil
}

// whyNot says in words why a trial of d has failed with err.
func (d Durability) whyNot(err error) string {
	command := strings.ToUpper(d.waitCommand()[0].(string))
	switch {
	case redisx.IsForbidden(err):
		return "its user may not run " + command + " (+" + strings.ToLower(command) + ")"
	case strings.Contains(strings.ToLower(err.Error()), "unknown command"):
		return "it has no " + command
	case d == Fsync && strings.Contains(err.Error(), "appendonly is disabled"):
		return "it keeps no append-only file"
	case d == Fsync:
		return "its append-only file confirmed nothing in time"
	}
	return "no replica confirmed a write in time"
}

// askServers asks all masters what they are.
func (c *core) askServers(ctx context.Context) (serverFacts, error) {
	var mu sync.Mutex
	var runIDs []string
	all := serverFacts{known: true, appends: true, replicas: true}
	err := redisx.ForEachMaster(ctx, c.rdb, func(ctx context.Context, server redis.UniversalClient) error {
		pipe := server.Pipeline()
		sections := []*redis.StringCmd{pipe.Info(ctx, "server"), pipe.Info(ctx, "persistence"), pipe.Info(ctx, "replication")}
		_, err := pipe.Exec(ctx)
		if err != nil && !isServerReply(err) && !redisx.IsForbidden(err) {
			return err
		}
		text := "\n"
		for _, s := range sections {
			text += strings.ReplaceAll(s.Val(), "\r", "") + "\n"
		}
		field := func(name string) string {
			_, rest, _ := strings.Cut(text, "\n"+name+":")
			value, _, _ := strings.Cut(rest, "\n")
			return value
		}
		mu.Lock()
		defer mu.Unlock()
		all.known = all.known && err == nil && field("aof_enabled") != "" && field("connected_slaves") != ""
		all.appends = all.appends && field("aof_enabled") == "1"
		all.replicas = all.replicas && field("connected_slaves") != "0"
		runIDs = append(runIDs, field("run_id"))
		return nil
	})
	if !all.known {
		all = serverFacts{}
	}
	slices.Sort(runIDs)
	all.servers = strings.Join(runIDs, " ")
	return all, err
}
