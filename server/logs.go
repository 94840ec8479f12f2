package server

import (
	"io"
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLog returns a log that writes structured lines to w. The format auto is console in a terminal,
// else JSON. A flood of one message is thinned: the first 2,000 a second are written, then every
// hundredth; dropped is called for each of the others.
func newLog(w io.Writer, level, format string, dropped func()) *zap.Logger {
	var at zapcore.Level
	if at.UnmarshalText([]byte(level)) != nil {
		at = zapcore.InfoLevel
	}
	if format == "auto" {
		format = "json"
		if f, ok := w.(*os.File); ok {
			if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
				format = "console"
			}
		}
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime = "at", zapcore.RFC3339NanoTimeEncoder
	enc := zapcore.NewJSONEncoder(cfg)
	if format == "console" {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
		enc = zapcore.NewConsoleEncoder(cfg)
	}
	core := zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), at)
	return zap.New(zapcore.NewSamplerWithOptions(core, time.Second, 2000, 100, zapcore.SamplerHook(func(_ zapcore.Entry, d zapcore.SamplingDecision) {
		if d&zapcore.LogDropped != 0 {
			dropped()
		}
	})))
}
