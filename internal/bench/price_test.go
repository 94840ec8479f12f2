package main

import (
	"bufio"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPriceIsJudged(t *testing.T) {
	t.Parallel()
	of := func(cpu, delivery, ping float64) *price {
		return &price{serverCPU: []float64{cpu}, deliveries: []float64{delivery}, roundTrip: []float64{ping}}
	}
	near, far := priceRows[0], priceRows[1]
	faulty := of(100, 1, 0.1)
	faulty.faults = []string{"lost 1"}
	for name, c := range map[string]struct {
		row     priceRow
		on, off *price
		says    string
	}{
		"as before":              {near, of(100, 1, 0.1), of(100, 1, 0.1), "ok"},
		"a round trip later":     {near, of(109, 2, 0.2), of(100, 1, 0.2), "ok"},
		"dearer":                 {near, of(111, 1, 0.1), of(100, 1, 0.1), "**missed**: CPU × 1.11, at most × 1.10"},
		"later":                  {near, of(100, 2.3, 0.2), of(100, 1, 0.2), "**missed**: deliveries 1.30 ms later, at most 1.20 ms"},
		"7 ms later from afar":   {far, of(200, 7.9, 5), of(100, 1, 5), "ok"},
		"more than 7 ms":         {far, of(100, 8.1, 5), of(100, 1, 5), "**missed**: deliveries 7.10 ms later, at most 7.00 ms"},
		"faults":                 {near, faulty, of(100, 1, 0.1), "**faults**: lost 1"},
		"there is no --recovery": {near, of(100, 1, 0.1), nil, notCompared},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.says, c.row.judge(c.on, c.off))
		})
	}
}

// What comes back arrives late, in order, and many pieces at once: the distance is no narrowness.
func TestDistanceIsLate(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for lines := bufio.NewScanner(c); lines.Scan(); {
			_, _ = c.Write(append(lines.Bytes(), '\n'))
		}
	}()
	const away = 50 * time.Millisecond
	d, err := startDistance(l.Addr().String(), away)
	require.NoError(t, err)
	c, err := net.Dial("tcp", d.listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	begun := time.Now()
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		_, err := c.Write([]byte(line))
		require.NoError(t, err)
	}
	answers := bufio.NewScanner(c)
	for _, line := range []string{"one", "two", "three"} {
		require.True(t, answers.Scan())
		require.Equal(t, line, answers.Text())
	}
	require.GreaterOrEqual(t, time.Since(begun), away)
	d.close()
	require.False(t, answers.Scan(), "its connections are closed with it")
}
