package cache

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
)

// A Codec turns values into bytes and back. Whoever shares keys with other programs keeps to
// JSON. An encoding is never empty.
type Codec interface {
	Encode(v any) ([]byte, error)
	// Decode fills what v points to, and keeps nothing of data.
	Decode(data []byte, v any) error
}

// JSON is the Codec of a Config that names none.
type JSON struct{}

// Encode returns v as JSON.
func (JSON) Encode(v any) ([]byte, error) { return json.Marshal(v, json.Deterministic(true)) }

// Decode fills v from JSON; members that v does not have are ignored.
func (JSON) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// nothing is what stands in Redis for "the source has none": null, as JSON programs store it.
var nothing = []byte("null")

// encode is the stored form of v.
func (m *Manager) encode(key string, v any) ([]byte, error) {
	data, err := m.cfg.Codec.Encode(v)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrValue, key, err)
	case len(data) == 0 || bytes.HasPrefix(data, envelopeStart):
		return nil, fmt.Errorf("%w: %s: its encoding means something else", ErrValue, key)
	case len(data) > m.cfg.MaxValue:
		return nil, fmt.Errorf("%w: %s: %d bytes", ErrTooLarge, key, len(data))
	}
	return data, nil
}

// decode reads the stored form into a T. null is no value: ok is false.
func decode[T any](m *Manager, key string, data []byte) (v T, ok bool, err error) {
	if bytes.Equal(data, nothing) {
		return v, false, nil
	}
	if err := m.cfg.Codec.Decode(data, &v); err != nil {
		var zero T
		return zero, false, fmt.Errorf("%w: %s: %w", ErrValue, key, err)
	}
	return v, true, nil
}
