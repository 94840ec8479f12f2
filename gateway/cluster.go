package gateway

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/socketio"
)

// Reach counts the members of a room on all nodes. whole is false when a node did not answer before
// ctx ended. The room "user:<id>" holds every device of a user.
func (s *Namespace) Reach(ctx context.Context, room string) (members int, whole bool) {
	members, missing := s.nsp.Members(ctx, room)
	return members, missing == 0
}

// CastUser sends an event to every device of a user, on all nodes, and returns how many devices it
// reached. whole is false when a node did not answer within a second, or before ctx ended, or when
// Redis did not accept the event: then there may be more devices. The error says that the payload
// can not be encoded.
func (s *Namespace) CastUser(ctx context.Context, userID, name string, payload any) (reached int, whole bool, err error) {
	encoded, err := encodePayload(name, payload)
	if err != nil {
		return 0, false, err
	}
	span := beginCast(ctx, name)
	defer span.End()
	if encoded.isPlain() && !s.g.volatile[name] {
		reached, missing := s.nsp.CastCount(span.Context(ctx), userRoom(userID), name, encoded.build)
		return reached, missing == 0, nil
	}
	wait, err := s.nsp.StartCounted(socketio.CountedCast{
		Room: userRoom(userID), Name: name, Build: encoded.build, Attachments: encoded.attachments, IsVolatile: s.g.volatile[name],
	})
	if err != nil {
		return 0, false, err
	}
	reach, err := wait(ctx)
	return reach.Reached, reach.Missing == 0, err
}

// Nodes returns how many gateways, and Node servers beside them, are alive as far as this node
// knows, itself included: at least 1. While Redis is away the number does not change.
func (g *Gateway) Nodes() int { return g.nsp.Nodes() }

// clusterStatus is the payload of a `gateway:status` about the cluster alone.
type clusterStatus struct {
	Cluster     string `json:"cluster"`     // "ok" or "local"
	Unpublished int64  `json:"unpublished"` // casts from this node that other nodes missed since the last status
}

// clusterChanged tells the players on this node, and the log, whether the other nodes receive what
// they send.
func (g *Gateway) clusterChanged(s socketio.ClusterState) {
	status := clusterStatus{"ok", s.Unpublished}
	if s.Local {
		status.Cluster = "local"
	}
	g.log.Warn("cluster changed", zap.String("state", status.Cluster), zap.Int64("unpublished", s.Unpublished))
	if g.ready.Load() {
		_ = g.castToNode("gateway:status", status) // it can always be encoded
	}
}

// noteJoinRefused counts and logs a join that another program asked for and that --max-rooms
// refuses: that program is not told.
func (g *Gateway) noteJoinRefused(conn, room string) {
	g.metrics.joinsRefused.Inc()
	var p event.Player
	if c := g.findAnyConn(conn); c != nil {
		p = *c.player.Load()
	}
	g.log.Warn("join of another program refused: the connection is in too many rooms",
		zap.String("conn", conn), zap.String("user", p.UserID), sessionTagOf(p.SessionID), zap.String("room", room), zap.String("code", ErrTooManyRooms.Code))
}

// Cluster returns the counters of the messages between this node and the others.
func (g *Gateway) Cluster() socketio.ClusterStats { return g.io.ClusterStats() }

// clusterMetrics exports the counters of Cluster to Prometheus.
type clusterMetrics struct{ stats func() socketio.ClusterStats }

var (
	descClusterNodes    = prometheus.NewDesc("gateway_cluster_nodes", "Nodes that serve the game, this one included.", nil, nil)
	descClusterChannels = prometheus.NewDesc("gateway_cluster_channels", "Channels that this node hears.", nil, nil)
	descClusterMessages = prometheus.NewDesc("gateway_cluster_messages_total", "Messages between nodes, by what became of them: published, unpublished, received, malformed.", []string{"what"}, nil)
	descClusterBytes    = prometheus.NewDesc("gateway_cluster_received_bytes_total", "Bytes of the messages that came from the other nodes.", nil, nil)
	descClusterPartial  = prometheus.NewDesc("gateway_cluster_partial_total", "Requests that not every node answered.", nil, nil)
	descClusterLate     = prometheus.NewDesc("gateway_late_subscriptions_total", "Connects and joins that were answered before Redis confirmed that this node hears their rooms.", nil, nil)
	descClusterRestarts = prometheus.NewDesc("gateway_cluster_restarts_total", "Silent connections to Redis that were given up.", nil, nil)
)

func (m clusterMetrics) collect(ch chan<- prometheus.Metric) {
	s := m.stats()
	ch <- prometheus.MustNewConstMetric(descClusterNodes, prometheus.GaugeValue, float64(s.Nodes))
	ch <- prometheus.MustNewConstMetric(descClusterChannels, prometheus.GaugeValue, float64(s.Channels))
	for what, n := range map[string]int64{"published": s.Published, "unpublished": s.Unpublished, "received": s.Received, "malformed": s.Malformed} {
		ch <- prometheus.MustNewConstMetric(descClusterMessages, prometheus.CounterValue, float64(n), what)
	}
	ch <- prometheus.MustNewConstMetric(descClusterBytes, prometheus.CounterValue, float64(s.Bytes))
	ch <- prometheus.MustNewConstMetric(descClusterPartial, prometheus.CounterValue, float64(s.Partial))
	ch <- prometheus.MustNewConstMetric(descClusterLate, prometheus.CounterValue, float64(s.LateSubscriptions))
	ch <- prometheus.MustNewConstMetric(descClusterRestarts, prometheus.CounterValue, float64(s.Restarts))
}
