package redisconn

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// A Lineage says which server answered, and from which data its own come.
type Lineage struct {
	// RunID is new with each start of a server.
	RunID string
	// ReplID and ReplID2 are the replication ids of the server. A replica has the ReplID of its
	// master. When it is promoted it takes a new one, and the old one becomes its ReplID2.
	ReplID, ReplID2 string
	// Mark is what stands in the server under a key of ours, where INFO is not allowed; then the
	// other fields are empty.
	Mark string
	// IsReplica tells whether the server follows another one.
	IsReplica bool
	// Uptime is how long the server runs, in whole seconds.
	Uptime time.Duration
}

// IsZero tells whether nothing is known of the server.
func (l Lineage) IsZero() bool { return l.RunID == "" && l.Mark == "" }

// IsServer tells whether other is the same process. Without INFO it cannot be seen: a copy of the
// data has the same mark.
func (l Lineage) IsServer(other Lineage) bool {
	if l.RunID == "" || other.RunID == "" {
		return l.Mark == other.Mark
	}
	return l.RunID == other.RunID
}

// IsRelated tells whether the data of one come from the other: a replica that was promoted, or its
// former master that follows it.
func (l Lineage) IsRelated(other Lineage) bool {
	if l.Mark != "" && l.Mark == other.Mark {
		return true
	}
	for _, a := range []string{l.ReplID, l.ReplID2} {
		for _, b := range []string{other.ReplID, other.ReplID2} {
			if a == b && strings.Trim(a, "0") != "" { // zeros stand for none
				return true
			}
		}
	}
	return false
}

// String returns the ids in short, for a log.
func (l Lineage) String() string {
	if l.RunID == "" {
		return "mark " + firstLetters(l.Mark)
	}
	return "run_id " + firstLetters(l.RunID) + " master_replid " + firstLetters(l.ReplID)
}

func firstLetters(id string) string { return id[:min(len(id), 8)] }

// readLineage asks a server in one round trip, or where INFO is not allowed in a second one.
func readLineage(ctx context.Context, conn redis.Cmdable) (Lineage, error) {
	var server, replication *redis.StringCmd
	_, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		server, replication = p.Info(ctx, "server"), p.Info(ctx, "replication")
		return nil
	})
	var reply redis.Error
	if errors.As(err, &reply) && !IsUnavailable(err) {
		return readMark(ctx, conn)
	}
	if err != nil {
		return Lineage{}, err
	}
	s, r := parseInfo(server.Val()), parseInfo(replication.Val())
	if s["run_id"] == "" {
		return readMark(ctx, conn)
	}
	return Lineage{
		RunID: s["run_id"], ReplID: r["master_replid"], ReplID2: r["master_replid2"],
		IsReplica: r["role"] == "slave", Uptime: time.Duration(s.intField("uptime_in_seconds")) * time.Second,
	}, nil
}

// markLife is how long a mark stays when no gateway runs.
const markLife = 7 * 24 * time.Hour

// readMark returns the mark of a server that does not say who it is, and writes one where none is.
func readMark(ctx context.Context, conn redis.Cmdable) (Lineage, error) {
	key := keys.Temp("redisconn", "lineage")
	var mark *redis.StringCmd
	_, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SetNX(ctx, key, rand.Text(), markLife)
		mark = p.Get(ctx, key)
		return nil
	})
	var reply redis.Error
	switch {
	case mark.Err() == nil: // a replica refuses to write and has its master's
		return Lineage{Mark: mark.Val()}, nil
	case errors.As(err, &reply) && !IsUnavailable(err):
		return Lineage{}, nil // we may not ask, so nothing is known
	}
	return Lineage{}, err
}
