package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/trade"
	"github.com/aeturnis/realtime/trade/ledger"
)

// The comparison notices each way in which the ledger may differ from what clients were told.
func TestTheComparisonNotices(t *testing.T) {
	t.Parallel()
	apples := func(n int64) ledger.Move {
		return ledger.Move{From: "p0", To: "p1", Goods: trade.Goods{Items: []trade.Line{{ItemID: "apple", Qty: n}}}}
	}
	completed := trade.Trade{TradeID: "T1", Status: trade.Completed, Parties: []trade.Party{{CharacterID: "p0", Offer: apples(3).Goods}, {CharacterID: "p1"}}}
	as := func(id string, s trade.Status) trade.Trade { return trade.Trade{TradeID: id, Status: s} }
	for name, c := range map[string]struct {
		told   []trade.Trade
		ledger map[string]string
		notice string // "" when all is well
	}{
		"all is well":            {[]trade.Trade{completed, as("T2", trade.Cancelled), as("T3", trade.Open)}, map[string]string{"T1": describeMoves(apples(3)), "T3": describeMoves(apples(1))}, ""},
		"an ok is not there":     {[]trade.Trade{completed}, nil, "not in the ledger"},
		"other goods":            {[]trade.Trade{completed}, map[string]string{"T1": describeMoves(apples(2))}, "in the ledger as"},
		"a refusal is there":     {[]trade.Trade{as("T2", trade.Failed)}, map[string]string{"T2": describeMoves(apples(3))}, "told as failed"},
		"a cancelled one is":     {[]trade.Trade{as("T2", trade.Cancelled)}, map[string]string{"T2": describeMoves(apples(3))}, "told as cancelled"},
		"nobody was told":        {[]trade.Trade{completed}, map[string]string{"T1": describeMoves(apples(3)), "T2": describeMoves(apples(3))}, "nobody was told"},
		"told this way and that": {[]trade.Trade{completed, as("T1", trade.Cancelled)}, map[string]string{"T1": describeMoves(apples(3))}, "and as cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newClientRecord()
			for _, x := range c.told {
				w.noteTrade(x)
			}
			breaks := w.compareWithLedger(c.ledger)
			if c.notice == "" {
				require.Empty(t, breaks)
				return
			}
			require.Len(t, breaks, 1)
			require.Contains(t, breaks[0], c.notice)
		})
	}
}

// A bug is a command in a script of a package, which its pattern finds once, and what stands there
// instead.
type bug struct{ script, pattern, wrong string }

// bugs are one that loses goods and one that does a gift twice when its key is repeated, each in a
// script of one server and in one of a Cluster.
var bugs = map[string][]bug{
	"goods are lost": {
		{"trade/gift", `put\(KEYS\[2\].*\)`, "nil"},
		{"trade/close", `add\(KEYS\[1\].*\)`, "nil"},
	},
	"a key is forgotten": {
		{"trade/gift", `pcall\(write_record, .*\)`, "true, true"},
		{"trade/record", `redis\.call\('SET',.*\)`, ""},
	},
}

// keyBugs are those that forget what a key has done: its answer is not recorded with the effect.
var keyBugs = map[string]bug{
	"a turn is not recorded": {"combat/replace_state", `if KEYS\[2\] then once_answer.* end\n`, ""},
}

// plantBug returns the name of a script's file, and its text with the bug.
func (b bug) plantBug(t *testing.T) (script string, wrong []byte) {
	script, err := filepath.Abs("../../" + b.script + ".lua")
	require.NoError(t, err)
	text, err := os.ReadFile(script)
	require.NoError(t, err)
	command := regexp.MustCompile(b.pattern)
	require.Len(t, command.FindAll(text, -1), 1, "what is to be wrong in %s", b.script)
	return script, command.ReplaceAll(text, []byte(b.wrong))
}

// buildWithBugs builds a gateway with bugs.
func buildWithBugs(t *testing.T, bugs []bug) (program string) {
	dir := t.TempDir()
	replace := map[string]string{}
	for _, b := range bugs {
		script, wrong := b.plantBug(t)
		replace[script] = filepath.Join(dir, filepath.Base(b.script)+".lua")
		require.NoError(t, os.WriteFile(replace[script], wrong, 0o600))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	program = filepath.Join(dir, "gateway")
	require.NoError(t, buildGateway(program, "-overlay", filepath.Join(dir, "overlay.json")))
	return program
}

// A gateway with a bug is caught by what TestKilledBetweenAnyTwoCommands asserts.
func TestAPlantedBugIsCaught(t *testing.T) {
	for _, all := range bugs {
		for _, b := range all {
			b.plantBug(t)
		}
	}
	if !isFullRun() {
		t.Skip("builds gateways; make chaos runs it, and trade has a test of the same name")
	}
	t.Parallel()
	for name, planted := range bugs {
		program := buildWithBugs(t, planted)
		for where, at := range sites {
			t.Run(name+", "+where, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, at(t))
				other := w.startGateway("")
				w.program = program
				caught := []string{}
				for n, died := 1, true; died && len(caught) == 0; n++ {
					g := w.startGateway(fmt.Sprint("kill after ", n))
					w.playScenes(g, other)
					died = !g.isAlive()
					g.killProcess()
					_, caught = w.examineWorld(other)
				}
				require.NotEmpty(t, caught, "a bug that no check notices")
				t.Log(caught[0])
			})
		}
	}
}
