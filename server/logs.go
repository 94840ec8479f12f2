package server

import (
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/aeturnis/realtime/internal/logbuffer"
)

// openLog makes the node's log, which nobody waits for: see logbuffer. The caller calls the
// function that it returns when the last line was logged.
func (n *node) openLog() (closeLog func()) {
	surviveSIGPIPE()
	buffer := logbuffer.New(n.cfg.LogTo, logbuffer.Config{OnResume: func(lost uint64) {
		n.log.Warn("log lines were dropped: nobody read the log, or it could not be written", zap.Uint64("lines", lost))
	}})
	flood := prometheus.NewCounter(droppedLinesOpts("flood"))
	n.registry.MustRegister(flood,
		prometheus.NewCounterFunc(droppedLinesOpts("full"), func() float64 { return float64(buffer.Full()) }),
		prometheus.NewCounterFunc(droppedLinesOpts("failed"), func() float64 { return float64(buffer.Failed()) }),
	)
	core := newLogCore(buffer, n.logLevel, logFormat(n.cfg.LogFormat, n.cfg.LogTo))
	lines := &outageLines{isVerbose: func() bool { return n.logLevel.Enabled(zap.DebugLevel) }}
	n.log = newLog(outageCore{core, lines}, buffer, flood.Inc).With(zap.String("node", n.name))
	n.outage = &outage{log: newLog(core, buffer, flood.Inc).With(zap.String("node", n.name)), held: n.log, lines: lines}
	return func() {
		n.outage.close()
		lines.writeHeld()
		buffer.Close()
	}
}

// droppedLinesOpts describes the counter of lines that were dropped for a reason: flood, when many
// lines of one kind are thinned; full, when the log's reader stands still; failed, when it is gone
// or its disk is full.
func droppedLinesOpts(reason string) prometheus.CounterOpts {
	return prometheus.CounterOpts{
		Name: "gateway_log_lines_dropped_total", Help: "Log lines that were left out, by reason.", ConstLabels: prometheus.Labels{"reason": reason},
	}
}

// surviveSIGPIPE makes a write to a standard output or error that nobody reads an error. Go's
// default ends the process, which suits `gateway trade list | head` and would cut off the players
// of a server whose log collector restarts. Child processes keep the default.
func surviveSIGPIPE() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// logFormat returns console or json for the format auto: console when w is a terminal.
func logFormat(format string, w io.Writer) string {
	if format != "auto" {
		return format
	}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return "console"
		}
	}
	return "json"
}

// newLogCore returns a core that writes structured lines to w, in the format console or json.
func newLogCore(w zapcore.WriteSyncer, level zapcore.LevelEnabler, format string) zapcore.Core {
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime = "at", zapcore.RFC3339NanoTimeEncoder
	enc := zapcore.NewJSONEncoder(cfg)
	if format == "console" {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
		enc = zapcore.NewConsoleEncoder(cfg)
	}
	return zapcore.NewCore(enc, w, level)
}

// newLog returns a log that writes to core, and what goes wrong with that to w: not to standard
// error, which may block. A flood of one message is thinned: the first 2,000 a second are written,
// then every hundredth; dropped is called for each of the others.
func newLog(core zapcore.Core, w zapcore.WriteSyncer, dropped func()) *zap.Logger {
	return zap.New(zapcore.NewSamplerWithOptions(core, time.Second, 2000, 100, zapcore.SamplerHook(func(_ zapcore.Entry, d zapcore.SamplingDecision) {
		if d&zapcore.LogDropped != 0 {
			dropped()
		}
	})), zap.ErrorOutput(w))
}
