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

// fetchEntry reads a key from Redis. That takes one round trip, and a second one if the value has
// tags. It returns nil for a missing key, for a value whose tags were invalidated, and for an
// envelope that cannot be read. It stores what it read in L1.
func (m *Manager) fetchEntry(ctx context.Context, key string) (*entry, error) {
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	var read readMark
	if m.local != nil {
		read = m.local.markReadStart(key)
	}
	data, expires, err := m.readValue(ctx, key)
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil || m.pendingDeletes.containsKey(key) {
		return nil, err
	}
	e, err := openEnvelope(data)
	if err != nil {
		m.reportUnreadable(key)
		return nil, nil
	}
	e.expires = expires
	if len(e.tags) > 0 {
		if ok, err := m.hasCurrentTags(ctx, e, nil); err != nil || !ok {
			return nil, err
		}
	}
	if m.local != nil {
		m.local.storeReadEntry(key, e, read)
	}
	return e, nil
}

// readValue reads a key from Redis. It asks only for L1 when the key expires.
func (m *Manager) readValue(ctx context.Context, key string) (data []byte, expires time.Time, err error) {
	if m.local == nil {
		data, err = m.rdb.Get(ctx, key).Bytes()
		return data, expires, err
	}
	pipe := m.rdb.Pipeline()
	get, left := pipe.Get(ctx, key), pipe.PTTL(ctx, key)
	_, _ = pipe.Exec(ctx) // each command carries its own error
	if data, err = get.Bytes(); err == nil {
		err = left.Err()
	}
	switch d := left.Val(); {
	case err != nil:
	case d >= 0:
		expires = time.Now().Add(d)
	case d == -1:
		expires = neverExpires
	default: // the key disappeared between the two commands
		err = redis.Nil
	}
	return data, expires, err
}
