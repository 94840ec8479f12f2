package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValuesThatNobodyMeans(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	require.NoError(t, os.WriteFile(file, []byte("max-rooms: 012\n"), 0o600))
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"a line break":   {map[string]string{"GATEWAY_PROFILES_TOKEN": "secret\n"}, nil, "GATEWAY_PROFILES_TOKEN holds a line break"},
		"of the issuer":  {map[string]string{"GATEWAY_JWT_ISSUER": "a\n"}, nil, "GATEWAY_JWT_ISSUER holds a line break"},
		"of the node":    {map[string]string{"GATEWAY_NODE": "a\r\n"}, nil, "GATEWAY_NODE holds a line break"},
		"of a sentinel":  {map[string]string{"GATEWAY_REDIS_SENTINEL_LOGIN": "a:b\n"}, nil, "GATEWAY_REDIS_SENTINEL_LOGIN holds a line break"},
		"octal":          {nil, []string{"--max-rooms", "012"}, "begins with 0"},
		"octal, from it": {map[string]string{"GATEWAY_MAX_ROOMS": "012"}, nil, "begins with 0"},
		"octal, file":    {nil, []string{"--config", file}, "begins with 0"},
	} {
		_, _, err := Parse(&ServeFlags{}, c.args, func(name string) string { return c.env[name] })
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
	_, _, err := Parse(&ServeFlags{}, []string{"--max-rooms", "12", "--chat-history", "0"}, func(string) string { return "" })
	require.NoError(t, err)
}
