package redisconn

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// SetLogger sends what go-redis logs, for every client of the process, to log: as
// warnings, at most five a second, because it writes a line for every failed dial.
func SetLogger(log *zap.Logger) {
	redis.SetLogger(&zapBridge{log.WithOptions(zap.WithCaller(false), zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Second, 5, 0)
	}))})
}

type zapBridge struct{ log *zap.Logger }

const maxDetail = 500 // bytes

// Printf is what go-redis calls. The message is constant, so that the sampler counts all
// lines as one.
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
