package server

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// internal/contract/features.txt names the folders that are features. The import rules and the
// features that are served must be those.
func TestOneListNamesTheFeatures(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../internal/contract/features.txt")
	require.NoError(t, err)
	listed := strings.Fields(string(text))

	rules, err := os.ReadFile("../.golangci.yml")
	require.NoError(t, err)
	rule := regexp.MustCompile(`(?s)\n        features:.*?list-mode`).FindString(string(rules))
	var guarded []string
	for _, m := range regexp.MustCompile(`config-path}/(\w+)/\*\*`).FindAllStringSubmatch(rule, -1) {
		guarded = append(guarded, m[1])
	}
	require.Equal(t, listed, guarded, ".golangci.yml")

	var served []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[features]()) {
		if field.Type.Kind() == reflect.Pointer {
			served = append(served, strings.TrimPrefix(field.Type.Elem().PkgPath(), "github.com/aeturnis/realtime/"))
		}
	}
	slices.Sort(served)
	require.Equal(t, listed, slices.Compact(served))
}

func TestMain(m *testing.M) { redistest.Main(m) }
