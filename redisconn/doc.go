// Package redisconn is the gateway's Redis service. It opens a client for every form of URL
// ([Open]), runs a server of its own when none is configured ([Embedded]), reports health
// ([Check]), watches whether Redis is there ([Monitor]) and gives us our rights ([Rights]), tells
// which errors mean that it is not ([IsUnavailable]), keeps a feature from waiting for it
// ([Breaker]), and measures commands ([Metrics]).
//
//	client, err := redisconn.Open(ctx, "redis+sentinel://a:26379,b:26379/main", redisconn.Config{})
//
// Passwords never appear in errors, logs or health answers; Redact makes a URL fit to show.
package redisconn
