package server

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// On a Redis Cluster webhooks are refused at start, with what to do about it.
func TestWebhooksOnAClusterAreRefused(t *testing.T) {
	t.Parallel()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { _ = client.Close() })
	n := &node{cfg: Config{WebhookURL: "https://game.example/"}, redis: &redisServices{client: client}}
	err := n.makeOutbox()
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "--webhook-url can not be used on a Redis Cluster")
	n.cfg.WebhookURL = ""
	require.NoError(t, n.makeOutbox())
	require.Nil(t, n.outbox)
	require.Nil(t, n.webhookLoops())
	require.Nil(t, n.combatEndedWebhook())
}

// The rights that only webhooks need are asked for only where there are webhooks.
func TestRightsOfWebhooks(t *testing.T) {
	t.Parallel()
	n := &node{redis: &redisServices{client: redis.NewClient(&redis.Options{})}}
	require.NotContains(t, n.neededRights().Keys, "webhooks:*")
	n.cfg.WebhookURL = "https://game.example/"
	require.Contains(t, n.neededRights().Keys, "webhooks:*")
	require.Subset(t, n.neededRights().Commands, webhookCommands)
}
