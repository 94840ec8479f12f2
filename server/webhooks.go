package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/internal/signedpost"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/webhooks"
)

const (
	maxWebhookQueue    = 1_000_000
	webhookAnswer      = 64 << 10 // bytes of an answer that are read
	webhookSecretsTick = time.Second
)

// checkWebhooks returns what is wrong with the settings of webhooks.
func (c *Config) checkWebhooks() (faults []error) {
	if c.WebhookURL == "" {
		if c.WebhookSecretFile != "" {
			faults = append(faults, usage.Errorf("--webhook-secret-file is for --webhook-url"))
		}
		return faults
	}
	if err := signedpost.CheckURL(c.WebhookURL); err != nil {
		faults = append(faults, usage.Errorf("--webhook-url %w", err))
	}
	if c.WebhookSecretFile == "" {
		faults = append(faults, usage.Errorf("--webhook-url needs --webhook-secret-file: its requests are signed"))
	}
	for _, t := range c.WebhookEvents {
		if !slices.Contains(webhooks.Types(), t) {
			faults = append(faults, usage.Errorf("--webhook-events: %q is none of %s", t, strings.Join(webhooks.Types(), ", ")))
		}
	}
	return faults
}

var errWebhooksOnCluster = errors.New("--webhook-url can not be used on a Redis Cluster: what happens, and the stream of what is told, must be written by one script on one server")

// makeOutbox makes what the scripts of the libraries and features write events with.
func (n *node) makeOutbox() error {
	c := &n.cfg
	if c.WebhookURL == "" {
		return nil
	}
	if redisx.IsCluster(n.redis.client) {
		return usage.Wrap(errWebhooksOnCluster)
	}
	n.outbox = webhooks.NewOutbox(n.redis.client, c.WebhookEvents, c.WebhookQueue)
	return nil
}

// makeWebhooks makes what delivers events.
func (n *node) makeWebhooks() (err error) {
	c := &n.cfg
	if n.outbox == nil {
		return nil
	}
	if n.webhookSecrets, err = signedpost.OpenSecrets(c.WebhookSecretFile); err != nil {
		return usage.Errorf("--webhook-secret-file: %w", err)
	}
	if n.webhookClient, err = signedpost.NewClient(signedpost.Config{MaxAnswer: webhookAnswer, Timeout: c.WebhookTimeout, CAFile: c.WebhookCAFile}); err != nil {
		return usage.Errorf("--webhook-ca-file: %w", err)
	}
	n.webhooks = webhooks.NewDispatcher(webhooks.Config{
		Redis: n.redis.client, Outbox: n.outbox, Retry: c.WebhookRetry, Log: n.log,
		Post: func(ctx context.Context, body []byte) (int, error) {
			status, _, err := n.webhookClient.Post(ctx, c.WebhookURL, n.webhookSecrets, body)
			return status, err
		},
	})
	n.webhookConnections = n.webhooks.NewConnections(n.name)
	return n.registry.Register(n.webhooks)
}

// webhookLoops returns the work of webhooks, each until its context ends.
func (n *node) webhookLoops() []func(context.Context) error {
	if n.webhooks == nil {
		return nil
	}
	loops := []func(context.Context) error{n.webhooks.Run, n.followWebhookSecrets}
	if n.webhookConnections != nil {
		loops = append(loops, n.webhookConnections.Run)
	}
	return loops
}

// combatEndedWebhook returns what tells that a fight has ended, nil when nobody is told.
func (n *node) combatEndedWebhook() func(ctx context.Context, end combat.Ending, participants []combat.Participant) error {
	if !n.outbox.Has(webhooks.CombatEnded) {
		return nil
	}
	return func(ctx context.Context, end combat.Ending, participants []combat.Participant) error {
		told := struct {
			combat.Ending
			Players []webhooks.Party `json:"players"`
		}{Ending: end, Players: []webhooks.Party{}}
		for i := range participants {
			if p := &participants[i]; p.UserID != "" {
				told.Players = append(told.Players, webhooks.Party{UserID: p.UserID, CharacterID: p.CharacterID})
			}
		}
		return n.outbox.Write(ctx, webhooks.CombatEnded, "combat-"+end.CombatID, told)
	}
}

// messageReported logs that a player reported a message, without its text, and tells the receiver
// of webhooks.
func (n *node) messageReported(ctx context.Context, r chat.Report) error {
	author := webhooks.Party{}
	if r.Message != nil {
		author.UserID = r.Message.From.UserID
	}
	n.log.Info("message reported", zap.String("by", r.By.UserID), zap.String("session", identity.SessionTag(r.By.SessionID)),
		zap.String("channel", r.Channel), zap.String("message", r.ID), zap.String("user", author.UserID))
	if !n.outbox.Has(webhooks.ChatReported) {
		return nil
	}
	by := webhooks.Party{UserID: r.By.UserID, CharacterID: r.By.CharacterID}
	told := struct {
		Channel string           `json:"channel"`
		ID      string           `json:"id"`
		Message *chat.Message    `json:"message"`
		By      webhooks.Party   `json:"by"`
		Reason  string           `json:"reason"`
		Players []webhooks.Party `json:"players"`
	}{r.Channel, r.ID, r.Message, by, r.Reason, []webhooks.Party{by, author}}
	sum := sha256.Sum256([]byte(r.Channel + "\x00" + r.ID + "\x00" + r.By.UserID))
	return n.outbox.Write(ctx, webhooks.ChatReported, "report-"+hex.EncodeToString(sum[:16]), told)
}

// reloadWebhookSecrets reads the file of secrets again. A file that is wrong changes nothing.
func (n *node) reloadWebhookSecrets() {
	if n.webhookSecrets == nil {
		return
	}
	if err := n.webhookSecrets.Reload(); err != nil {
		n.log.Error("secrets of webhooks could not be read again: the old ones stay", zap.Error(err))
		return
	}
	n.log.Info("secrets of webhooks read again", zap.Int("secrets", len(n.webhookSecrets.All())))
}

// followWebhookSecrets reads the file of secrets again when it has changed.
func (n *node) followWebhookSecrets(ctx context.Context) error {
	tick := time.NewTicker(webhookSecretsTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			n.webhookClient.Close()
			return nil
		case <-tick.C:
			if n.webhookSecrets.HasChanged() {
				n.reloadWebhookSecrets()
			}
		}
	}
}
