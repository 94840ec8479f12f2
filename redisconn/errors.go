package redisconn

import "github.com/aeturnis/realtime/outage"

// IsUnavailable tells whether err means that Redis cannot be used now: see outage.Is.
func IsUnavailable(err error) bool { return outage.Is(err) }
