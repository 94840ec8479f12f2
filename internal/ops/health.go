package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/usage"
)

// Health is the command by which a container asks its own gateway how it is.
type Health struct {
	AdminAddr string `default:"127.0.0.1:8081" help:"Ask at this address, which is that of serve."`
	Ready     bool   `help:"Ask whether it takes players, which it does not while it drains or Redis is away."`
	JSON      bool   `help:"Print JSON."`
}

// Run prints the answer, and exits 1 when it is no, or when nobody answers.
func (c Health) Run(ctx context.Context, s cli.Streams) error {
	host, port, err := net.SplitHostPort(c.AdminAddr)
	if err != nil {
		return usage.Errorf("--admin-addr: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	path := "/health/live"
	if c.Ready {
		path = "/health/ready"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return usage.Errorf("--admin-addr: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return errors.New("no gateway answers: " + err.Error()) // not wrapped: the exit status would say that Redis is away
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return err
	}
	var answer struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("no gateway answers at %s", c.AdminAddr)
	}
	if c.JSON {
		fmt.Fprintln(s.Out, strings.TrimSpace(string(body)))
	} else {
		fmt.Fprintln(s.Out, answer.Status)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway answers %s", res.Status)
	}
	return nil
}
