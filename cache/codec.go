package cache

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
)

// A Codec encodes values to bytes and decodes them. Keys that other programs read need JSON. An
// encoding must not be empty.
type Codec interface {
	Encode(v any) ([]byte, error)
	// Decode fills the value that v points to. It must not keep data.
	Decode(data []byte, v any) error
}

// JSON is the default Codec.
type JSON struct{}

// Encode returns v as JSON.
func (JSON) Encode(v any) ([]byte, error) { return json.Marshal(v, json.Deterministic(true)) }

// Decode fills v from JSON. It ignores members that v does not have.
func (JSON) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// absentValue is stored if the source has no value: null, as programs that use JSON store it.
var absentValue = []byte("null")

// encodeValue returns the stored form of v.
func (m *Manager) encodeValue(key string, v any) ([]byte, error) {
	data, err := m.cfg.Codec.Encode(v)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrValue, key, err)
	case len(data) == 0 || bytes.HasPrefix(data, envelopeStart):
		return nil, fmt.Errorf("%w: %s: its encoding is empty, or begins like an envelope", ErrValue, key)
	case len(data) > m.cfg.MaxValue:
		return nil, fmt.Errorf("%w: %s: %d bytes", ErrTooLarge, key, len(data))
	}
	return data, nil
}

// decodeValue decodes the stored form. ok is false if it is absentValue.
func decodeValue[T any](m *Manager, key string, data []byte) (v T, ok bool, err error) {
	if bytes.Equal(data, absentValue) {
		return v, false, nil
	}
	if err := m.cfg.Codec.Decode(data, &v); err != nil {
		var zero T
		return zero, false, fmt.Errorf("%w: %s: %w", ErrValue, key, err)
	}
	return v, true, nil
}
