package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/aeturnis/realtime/internal/tlsserve"
	"github.com/aeturnis/realtime/internal/usage"
)

// tlsFiles are what this node serves TLS with at all its addresses.
type tlsFiles struct {
	certificates  *tlsserve.Certificates // nil without Config.TLSCert: all addresses are plain
	adminClients  *tlsserve.Authorities  // nil without Config.AdminClientCA
	apiClients    *tlsserve.Authorities  // nil without Config.APIClientCA
	failedClients prometheus.Counter     // whose handshake failed
}

// checkTLS returns what is wrong with the settings of TLS, but for what is in the files.
func (c *Config) checkTLS() (faults []error) {
	refuse := func(format string, args ...any) { faults = append(faults, usage.Errorf(format, args...)) }
	if (c.TLSCert == "") != (c.TLSKey == "") {
		refuse("--tls-cert and --tls-key need each other")
	}
	for _, authority := range []struct{ flag, file, addrFlag, addr string }{
		{"--admin-client-ca", c.AdminClientCA, "--admin-addr", c.AdminAddr},
		{"--api-client-ca", c.APIClientCA, "--api-addr", c.APIAddr},
	} {
		switch {
		case authority.file == "":
		case c.TLSCert == "":
			refuse("%s needs --tls-cert and --tls-key", authority.flag)
		case authority.addr == "":
			refuse("%s is for %s", authority.flag, authority.addrFlag)
		}
	}
	return faults
}

// openTLS reads the files of TLS.
func (n *node) openTLS() error {
	c := &n.cfg
	if c.TLSCert == "" {
		return nil
	}
	f := &n.tls
	var certErr, adminErr, apiErr error
	if f.certificates, certErr = tlsserve.Open(c.TLSCert, c.TLSKey); certErr != nil {
		certErr = usage.Errorf("--tls-cert, --tls-key: %w", certErr)
	}
	if c.AdminClientCA != "" {
		if f.adminClients, adminErr = tlsserve.OpenAuthorities(c.AdminClientCA); adminErr != nil {
			adminErr = usage.Errorf("--admin-client-ca: %w", adminErr)
		}
	}
	if c.APIClientCA != "" {
		if f.apiClients, apiErr = tlsserve.OpenAuthorities(c.APIClientCA); apiErr != nil {
			apiErr = usage.Errorf("--api-client-ca: %w", apiErr)
		}
	}
	if err := errors.Join(certErr, adminErr, apiErr); err != nil {
		return err
	}
	f.failedClients = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gateway_tls_handshakes_failed_total", Help: "Clients that were refused, or left, before TLS was agreed.",
	})
	n.registry.MustRegister(f.failedClients, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_tls_certificate_expiry_timestamp_seconds", Help: "When the certificate of --tls-cert expires, in Unix time.",
	}, func() float64 { return float64(f.certificates.NotAfter().Unix()) }))
	if left := time.Until(f.certificates.NotAfter()); left <= 0 {
		n.log.Warn("the certificate of --tls-cert has expired: clients refuse it", zap.Time("notAfter", f.certificates.NotAfter()))
	}
	return nil
}

// scheme returns how the URLs of this node begin.
func (f *tlsFiles) scheme() string {
	if f.certificates == nil {
		return "http"
	}
	return "https"
}

// secure returns a listener of TLS over l, or l where this node serves none. With authorities,
// clients must show a certificate.
func (f *tlsFiles) secure(l net.Listener, authorities *tlsserve.Authorities) net.Listener {
	if f.certificates == nil {
		return l
	}
	return tlsserve.NewListener(l, f.certificates.ServerConfig(authorities))
}

// tlsTick is how often the files of TLS are looked at.
const tlsTick = time.Second

// followTLS reads the files of TLS again when they have changed.
func (n *node) followTLS(ctx context.Context) error {
	if n.tls.certificates == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(tlsTick)
	defer tick.Stop()
	isHalfChanged := false // a certificate and its key are seldom replaced at the same moment
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch {
		case isHalfChanged:
			n.reloadTLS()
			isHalfChanged = false
		case n.tls.hasChanged():
			isHalfChanged = n.tls.reload() != nil
			if !isHalfChanged {
				n.logReloadedTLS()
			}
		}
	}
}

// hasChanged reports whether a file of TLS was changed since it was read.
func (f *tlsFiles) hasChanged() bool {
	return f.certificates.HasChanged() || f.adminClients != nil && f.adminClients.HasChanged() || f.apiClients != nil && f.apiClients.HasChanged()
}

// reload reads all files again. What is wrong in one changes nothing for its part.
func (f *tlsFiles) reload() error {
	err := f.certificates.Reload()
	for _, authorities := range []*tlsserve.Authorities{f.adminClients, f.apiClients} {
		if authorities != nil {
			err = errors.Join(err, authorities.Reload())
		}
	}
	return err
}

// reloadTLS reads the files again, and tells.
func (n *node) reloadTLS() {
	if n.tls.certificates == nil {
		return
	}
	if err := n.tls.reload(); err != nil {
		n.log.Error("files of TLS could not be read again: what was read before stays in force", zap.Error(err))
		return
	}
	n.logReloadedTLS()
}

func (n *node) logReloadedTLS() {
	n.log.Info("files of TLS read again", zap.Time("notAfter", n.tls.certificates.NotAfter()))
}

// A handshakeFilter counts the lines of net/http about handshakes that failed, which anybody who
// reaches the port can cause, and keeps them from the log.
type handshakeFilter struct {
	zapcore.Core
	failed prometheus.Counter
}

const handshakeLine = "http: TLS handshake error"

// Check adds the core to those that write an entry.
func (f handshakeFilter) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if strings.HasPrefix(entry.Message, handshakeLine) {
		f.failed.Inc()
		return checked
	}
	return f.Core.Check(entry, checked)
}
