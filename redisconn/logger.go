package redisconn

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// SetLogger sends what go-redis logs, for every client of the process, to log: as warnings, and at
// most five a second, because go-redis writes a line for every failed dial.
func SetLogger(log *zap.Logger) {
	redis.SetLogger(&zapBridge{log.WithOptions(zap.WithCaller(false), zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Second, 5, 0)
	}))})
}

// A zapBridge is the logger that go-redis gets.
type zapBridge struct{ log *zap.Logger }

const maxDetail = 500 // bytes

// Printf implements the interface of go-redis. The message is constant, so that the sampler counts
// all lines as the same.
func (b *zapBridge) Printf(_ context.Context, format string, v ...any) {
	e := b.log.Check(zap.WarnLevel, "redis client")
	if e == nil {
		return
	}
	detail := fmt.Sprintf(format, v...)
	if len(detail) > maxDetail {
		detail = detail[:maxDetail]
	}
	e.Write(zap.String("detail", detail))
}
