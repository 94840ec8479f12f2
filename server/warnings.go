package server

import (
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// The kinds of warnings: dangerous settings that are served all the same.
const (
	devIsPublic     = "dev_public"
	devInProduction = "dev_production"
	adminIsPublic   = "admin_public"
	apiIsPublic     = "api_public"
	untrustedProxy  = "proxy_untrusted"
	redisKeepsNone  = "redis_keeps_nothing"
	redisMayEvict   = "redis_may_evict"
	tradesAreUnsafe = "trades_not_durable"
)

// warningKinds is the table of all warnings. Each is logged when it begins to hold, and is a value
// of kind in gateway_warnings. The settings alone decide those that have isInForce; the others are
// set where it is seen.
var warningKinds = []struct {
	kind, text string // text says what is dangerous, and what to do
	isInForce  func(c *Config, public, admin net.Listener) bool
}{
	{
		devIsPublic, "--dev is on and --addr is not a loopback address: whoever reaches it can be anybody",
		func(c *Config, public, _ net.Listener) bool { return c.Dev && !isLoopback(public) },
	},
	{
		devInProduction, "--dev is on although --env says production: players are believed, so anybody can be anybody",
		func(c *Config, _, _ net.Listener) bool { return c.Dev && c.Env == "production" },
	},
	{
		adminIsPublic, "--admin-addr is not a loopback address, and it asks for no login: keep players away from it, or ask for certificates by --admin-client-ca",
		func(c *Config, _, admin net.Listener) bool {
			return admin != nil && !isLoopback(admin) && c.AdminClientCA == ""
		},
	},
	{apiIsPublic, "--api-addr is not a loopback address, and its keys cross the network in the clear unless --tls-cert or a proxy adds TLS: keep players away from it", nil},
	{untrustedProxy, "X-Forwarded-For is not believed, because its sender is none of --trusted-proxies: its players share its address", nil},
	{redisKeepsNone, "Redis keeps nothing when it restarts: switch on appendonly, or snapshots by save", nil},
	{redisMayEvict, "Redis may evict sessions and inventories when its memory is full: set maxmemory-policy noeviction", nil},
	{tradesAreUnsafe, "a trade that was answered with ok can be lost when Redis dies: see --trade-durability", nil},
}

// isLoopback tells whether only programs of this machine reach a listener.
func isLoopback(l net.Listener) bool {
	addr, isTCP := l.Addr().(*net.TCPAddr)
	return isTCP && addr.IP.IsLoopback()
}

// warnOfSettings warns of the settings that are dangerous at these addresses.
func (n *node) warnOfSettings(public, admin net.Listener) {
	for _, w := range warningKinds {
		if w.isInForce != nil {
			n.warnings.set(w.kind, w.isInForce(&n.cfg, public, admin))
		}
	}
}

// warnings are the dangerous settings that are in force.
type warnings struct {
	log     *zap.Logger
	texts   map[string]string // by kind
	inForce *prometheus.GaugeVec

	mu   sync.Mutex
	held map[string]bool // by kind; guarded by mu
}

func newWarnings(log *zap.Logger) *warnings {
	w := &warnings{log: log, texts: map[string]string{}, held: map[string]bool{}, inForce: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "gateway_warnings", Help: "1 while a dangerous setting is in force: see docs/operations.md for the kinds.",
	}, []string{"kind"})}
	for _, k := range warningKinds {
		w.texts[k.kind] = k.text
		w.inForce.WithLabelValues(k.kind).Set(0) // it is there before the first warning
	}
	return w
}

// set notes whether a warning is in force, and logs it when that begins and when it ends.
func (w *warnings) set(kind string, isInForce bool, fields ...zap.Field) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[kind] == isInForce {
		return
	}
	w.held[kind] = isInForce
	fields = append(fields, zap.String("kind", kind))
	if isInForce {
		w.inForce.WithLabelValues(kind).Set(1)
		w.log.Warn(w.texts[kind], fields...)
		return
	}
	w.inForce.WithLabelValues(kind).Set(0)
	w.log.Info("a warning holds no more", fields...)
}
