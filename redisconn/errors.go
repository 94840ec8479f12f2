package redisconn

import "github.com/aeturnis/realtime/internal/redisx"

// IsUnavailable tells whether err means that Redis cannot be used now: see redisx.Unavailable.
func IsUnavailable(err error) bool { return redisx.Unavailable(err) }
