package redisconn_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

func TestMain(m *testing.M) {
	if os.Getenv("REDISCONN_CHILD") != "" {
		holdEmbedded()
	}
	redistest.Main(m)
}

// open is a client as production makes it.
func open(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := redisconn.Open(context.Background(), url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// within is how soon the states and checks promise to follow; the machine adds its own.
const within = time.Second
