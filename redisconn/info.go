package redisconn

import (
	"strconv"
	"strings"
)

// info is the reply of INFO, from field to value.
type info map[string]string

const maxInfoFields = 2000

func parseInfo(text string) info {
	m := make(info)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok && line[0] != '#' && len(m) < maxInfoFields {
			m[name] = value
		}
	}
	return m
}

func (m info) intField(name string) int64 {
	n, _ := strconv.ParseInt(m[name], 10, 64) // a missing field is 0
	return n
}

// serverVersion returns "7.0.15", or "valkey 8.1.1"; "" when the server does not say.
func (m info) serverVersion() string {
	if m["server_name"] == "valkey" {
		return "valkey " + m["valkey_version"]
	}
	return m["redis_version"]
}
