package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"
)

// An entry is a stored value as it was read.
type entry struct {
	data    []byte            // encoded, without envelope; shared, so nobody may change it
	tags    map[string]string // the version of each tag when the value was stored; nil without tags
	expires time.Time         // when Redis removes it
}

// neverExpires is the expiry of a key without TTL.
var neverExpires = time.UnixMilli(math.MaxInt64 / 2)

func (e *entry) isAbsentValue() bool { return bytes.Equal(e.data, absentValue) }

// envelope is the stored form of a tagged value. The bytes of the codec are in Data if they are
// valid JSON, and else in Raw, as base64.
type envelope struct {
	Tags map[string]string `json:"$tags"`
	Data jsontext.Value    `json:"data,omitzero"`
	Raw  []byte            `json:"raw,omitempty"`
}

// envelopeStart begins every envelope, and no plain value.
var envelopeStart = []byte(`{"$tags":`)

func sealEnvelope(tags map[string]string, data []byte) ([]byte, error) {
	e := envelope{Tags: tags}
	if v := jsontext.Value(data); v.IsValid() {
		e.Data = v
	} else {
		e.Raw = data
	}
	return json.Marshal(e, json.Deterministic(true))
}

func openEnvelope(data []byte) (*entry, error) {
	if !bytes.HasPrefix(data, envelopeStart) {
		return &entry{data: data}, nil
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("%w: bad envelope: %w", ErrValue, err)
	}
	if e.Raw != nil {
		return &entry{data: e.Raw, tags: e.Tags}, nil
	}
	return &entry{data: e.Data, tags: e.Tags}, nil
}

// fetchEntry reads a key from Redis, together with the versions of the given tags. That takes one
// round trip, and a second one if the value has other tags. It returns nil for a missing key, for a
// value whose tags were invalidated, and for an envelope that cannot be read. It stores what it
// read in L1.
func (m *Manager) fetchEntry(ctx context.Context, key string, tags []string) (*entry, error) {
	return m.fetchEntryAfter(ctx, key, tags, func(context.Context, redis.Pipeliner) {})
}

// fetchEntryAfter is fetchEntry with further commands before it, in the same round trip.
func (m *Manager) fetchEntryAfter(ctx context.Context, key string, tags []string, first func(context.Context, redis.Pipeliner)) (*entry, error) {
	var read readMark
	if m.local != nil {
		read = m.local.markReadStart(key)
	}
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	pipe := m.rdb.Pipeline()
	first(ctx, pipe)
	get, left := pipe.Get(ctx, key), pipe.PTTL(ctx, key)
	versions := m.queueVersionReads(ctx, pipe, tags)
	_, _ = pipe.Exec(ctx) // each command carries its own error
	if err := get.Err(); errors.Is(err, redis.Nil) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if m.pendingDeletes.containsKey(key) {
		return nil, nil
	}
	if err := left.Err(); err != nil {
		return nil, err
	}
	data, _ := get.Bytes() // get has no error
	e, err := openEnvelope(data)
	if err != nil {
		m.reportUnreadable(key)
		return nil, nil
	}
	switch d := left.Val(); {
	case d >= 0:
		e.expires = time.Now().Add(d)
	case d == -1:
		e.expires = neverExpires
	default: // the key disappeared between the two commands
		return nil, nil
	}
	ok, err := m.hasCurrentTags(ctx, e, versions)
	if err != nil || !ok {
		return nil, err
	}
	if m.local != nil {
		m.local.storeReadEntry(key, e, read)
	}
	return e, nil
}
