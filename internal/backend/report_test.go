package backend

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPacedReports(t *testing.T) {
	t.Parallel()
	var p pacedReports
	at := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		after   time.Duration
		skipped int
		isDue   bool
	}{{0, 0, true}, {0, 0, false}, {reportEvery - 1, 0, false}, {reportEvery, 2, true}, {reportEvery + 1, 0, false}, {2 * reportEvery, 1, true}} {
		skipped, isDue := p.take(at.Add(c.after))
		require.Equal(t, []any{c.skipped, c.isDue}, []any{skipped, isDue}, c.after)
	}
}
