package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// A tag is a version number in Redis. A tagged value contains the versions that its tags had before
// it was loaded, and is a miss as soon as one of them has another version, or none. To invalidate
// a tag is to give it a new version. Nothing lists the keys of a tag, so no key can be missed, and
// nothing grows.

const (
	// tagTTL is how long Redis keeps a tag under which nothing is stored. A value whose tag has
	// expired is loaded again.
	tagTTL  = 7 * 24 * time.Hour
	maxTags = 32
)

// newTagVersion returns a version that no tag has had. If Redis loses a tag and it gets a new
// version, no old value becomes valid again.
func newTagVersion() string { return strconv.FormatUint(rand.Uint64(), 36) }

func validateTags(tags []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%w: more than %d tags", ErrKey, maxTags)
	}
	for _, tag := range tags {
		if err := validateName(tag, maxTag); err != nil {
			return err
		}
	}
	return nil
}

// Tagged is Aside for a value with 1 to 32 tags. InvalidateByTag with any of them invalidates it.
func Tagged[T any](ctx context.Context, m *Manager, key string, tags []string, load Loader[T], o Options) (T, error) {
	if err := validateTags(tags); err != nil {
		var zero T
		return zero, err
	}
	return asideWithTags(ctx, m, key, tags, load, o)
}

// InvalidateByTag invalidates all values that have one of the tags, on every node. A load that is
// in progress does not store its result.
func (m *Manager) InvalidateByTag(ctx context.Context, tags ...string) error {
	if err := validateTags(tags); err != nil {
		return err
	}
	var changes []keyChange
	for _, tag := range tags {
		changes = append(changes, keyChange{keys.CacheTag(tag), []byte(newTagVersion()), tagTTL})
	}
	_, err := m.applyChanges(ctx, "invalidate tag", changes)
	return err
}

// A versionRead is the version of one tag: known from L1, or being read from Redis.
type versionRead struct {
	known string
	cmd   *redis.StringCmd // nil if the version is known
	since readMark
}

// queueVersionReads adds reads of the versions that L1 does not know to the pipeline.
func (m *Manager) queueVersionReads(ctx context.Context, pipe redis.Pipeliner, tags []string) map[string]versionRead {
	reads := make(map[string]versionRead, len(tags))
	for _, tag := range tags {
		var r versionRead
		if m.local != nil {
			if v, ok := m.local.tagVersion(tag); ok {
				reads[tag] = versionRead{known: v}
				continue
			}
			r.since = m.local.markReadStart(keys.CacheTag(tag))
		}
		r.cmd = pipe.Get(ctx, keys.CacheTag(tag))
		reads[tag] = r
	}
	return reads
}

// hasCurrentTags tells whether all tags of an entry have the versions that it was stored with. It
// reads the versions that are not in reads.
func (m *Manager) hasCurrentTags(ctx context.Context, e *entry, reads map[string]versionRead) (bool, error) {
	var more []string
	for tag := range e.tags {
		if _, ok := reads[tag]; !ok {
			more = append(more, tag)
		}
	}
	if len(more) > 0 {
		pipe := m.rdb.Pipeline()
		for tag, r := range m.queueVersionReads(ctx, pipe, more) {
			if reads == nil {
				reads = make(map[string]versionRead)
			}
			reads[tag] = r
		}
		if pipe.Len() > 0 {
			_, _ = pipe.Exec(ctx) // each command carries its own error
		}
	}
	ok := true
	for tag, want := range e.tags {
		v, err := m.readTagVersion(tag, reads[tag])
		if err != nil {
			return false, err
		}
		ok = ok && v == want
	}
	return ok, nil
}

// readTagVersion returns the version that was read, "" if the tag has none, and stores it in L1.
func (m *Manager) readTagVersion(tag string, r versionRead) (string, error) {
	if r.cmd == nil {
		return r.known, nil
	}
	v, err := r.cmd.Result()
	switch {
	case errors.Is(err, redis.Nil):
		return "", nil
	case err != nil:
		return "", err
	}
	if m.local != nil {
		m.local.storeReadEntry(keys.CacheTag(tag), &entry{data: []byte(v), expires: neverExpires}, r.since)
	}
	return v, nil
}

// ensureTagVersions reads the current versions of the tags of a call from Redis, and gives a
// version to each tag that has none.
func (m *Manager) ensureTagVersions(call *loadCall) (map[string]string, error) {
	tags := call.tags
	if len(tags) == 0 {
		return nil, nil
	}
	ctx := call.stages.beginStep(min(m.cfg.Budget, call.remainingTime()))
	pipe := m.rdb.Pipeline()
	cmds := make(map[string]*redis.StringCmd, len(tags))
	for _, tag := range tags {
		key := keys.CacheTag(tag)
		pipe.SetNX(ctx, key, newTagVersion(), tagTTL)
		pipe.PExpire(ctx, key, tagTTL)
		cmds[tag] = pipe.Get(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(tags))
	for tag, cmd := range cmds {
		out[tag] = cmd.Val()
	}
	return out, nil
}
