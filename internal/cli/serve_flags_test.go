package cli

import (
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/server"
)

// configure parses flags of `gateway serve`.
func configure(t *testing.T, args ...string) (server.Config, error) {
	t.Helper()
	var flags ServeFlags
	parser, err := kong.New(&flags)
	require.NoError(t, err)
	_, err = parser.Parse(args)
	require.NoError(t, err)
	return flags.Configure()
}

// The defaults of the flags are those of server.Config, but for the operators' address, which
// another program must name.
func TestDefaultsOfFlagsAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	cfg, err := configure(t)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8081", cfg.AdminAddr)
	cfg.AdminAddr = ""
	require.Empty(t, cfg.PolicyEvents)
	cfg.PolicyEvents = nil
	require.Equal(t, server.Config{}.WithDefaults(), cfg.WithDefaults())
}

// Zero is what the operator says, not the default.
func TestAFlagOfZeroIsNotTheDefault(t *testing.T) {
	t.Parallel()
	cfg, err := configure(t, "--drain-for", "0s", "--chat-history", "0", "--max-connections", "0", "--limit-close-after", "0", "--cache-local-bytes", "0")
	require.NoError(t, err)
	cfg = cfg.WithDefaults()
	require.Equal(t, []int{-1, -1, -1}, []int{cfg.ChatHistory, cfg.MaxConnections, cfg.LimitCloseAfter})
	require.Equal(t, time.Duration(-1), cfg.DrainFor)
	require.Equal(t, int64(-1), cfg.CacheLocalBytes)
}
