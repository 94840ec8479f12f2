package server

import (
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisdial"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
)

// locking makes the locks: on --redis, or on the majority of the servers of --lock-redis.
func (n *node) locking() (err error) {
	clients := []redis.UniversalClient{n.rdb}
	if len(n.cfg.LockRedisURLs) > 0 {
		if n.lockServers, err = redisdial.LockServers(n.cfg.LockRedisURLs, redisconn.Config{Name: "gateway-locks", PoolSize: 16}); err != nil {
			return err
		}
		clients = n.lockServers
	}
	n.locks = lock.New(lock.Config{}, clients...)
	return nil
}

// closeLocks waits for what locks still do, and closes their own servers.
func (n *node) closeLocks() {
	if n.locks != nil {
		n.locks.Close()
	}
	redisdial.CloseAll(n.lockServers)
}
