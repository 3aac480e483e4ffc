// Package prometheus exports the counters of a server and of its node to Prometheus.
//
//	registry.MustRegister(prometheus.NewServerCollector(io), prometheus.NewNodeCollector(db, nil))
//
// The names of the metrics begin with socketio_. The file dashboard.json is a
// dashboard for Grafana that shows them.
package prometheus

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/pgadapter"
	"github.com/pgsocket/socketio/stats"
)

// A family is one metric with its labels.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) family {
	return family{prometheus.NewDesc("socketio_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) family {
	return family{prometheus.NewDesc("socketio_"+name, help, labels, nil), prometheus.CounterValue}
}

func (f family) send(ch chan<- prometheus.Metric, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
}

func (f family) histogram(ch chan<- prometheus.Metric, h stats.Histogram) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	for i, bound := range h.Bounds {
		buckets[bound] = h.Counts[i]
	}
	ch <- prometheus.MustNewConstHistogram(f.desc, h.Count, h.Sum, buckets)
}

// A ServerCollector collects the counters of a server. It implements
// prometheus.Collector.
type ServerCollector struct {
	server *socketio.Server

	connections, sockets, restoring, namespaces family
	opened, recovered, refused, parked, expired family
	disconnects, replayed, restored, origins    family
	turnedAway, oversize                        family
	connectsRefused, rateLimited                family
	badPayloads, unhandled, logDropped          family
}

// NewServerCollector returns a collector of the counters of the server.
func NewServerCollector(io *socketio.Server) *ServerCollector {
	return &ServerCollector{
		server:      io,
		connections: gauge("connections", "Clients that are connected to this node."),
		sockets:     gauge("sockets", "Sockets that are connected, in all namespaces."),
		restoring:   gauge("sockets_restoring", "Sockets that are being connected."),
		namespaces:  gauge("namespaces", "Namespaces that exist."),
		opened:      counter("sessions_opened_total", "Sessions that were opened."),
		recovered:   counter("sessions_recovered_total", "Sessions that clients recovered."),
		refused:     counter("sessions_refused_total", "Attempts to recover that were refused.", "reason"),
		parked:      counter("sessions_parked_total", "Sessions that were released and that the client may recover."),
		expired:     counter("sessions_expired_total", "Sessions whose expiry was reported to this node."),
		origins:     counter("origins_refused_total", "Requests of pages that Options.Origins does not allow."),
		disconnects: counter("disconnects_total", "Sockets that were disconnected.", "reason"),
		badPayloads: counter("bad_payloads_total", "Events of clients whose arguments did not fit."),
		unhandled:   counter("unhandled_events_total", "Events of clients without a handler."),
		logDropped:  counter("log_lines_dropped_total", "Log lines that were suppressed or that the logger failed to handle."),
		replayed:    counter("replayed_events", "Events replayed to a recovered client."),
		turnedAway:  counter("connections_turned_away_total", "Requests for a connection beyond a limit of the node."),
		oversize:    counter("oversize_messages_total", "Messages of clients above MaxPayload."),
		rateLimited: counter("connections_rate_limited_total", "Connections whose clients exceeded the rates."),
		restored:    counter("restore_seconds", "Time from the CONNECT of a returning client to the end of its replay."),

		connectsRefused: counter("connects_refused_total", "CONNECT packets that the server refused, not the application.", "reason"),
	}
}

// Describe implements prometheus.Collector.
func (c *ServerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range []family{
		c.connections, c.sockets, c.restoring, c.namespaces, c.opened, c.recovered, c.refused, c.parked, c.expired,
		c.disconnects, c.replayed, c.restored, c.origins, c.turnedAway, c.oversize, c.badPayloads, c.unhandled, c.logDropped,
		c.connectsRefused, c.rateLimited,
	} {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *ServerCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.server.Stats()
	c.connections.send(ch, float64(s.Connections))
	c.sockets.send(ch, float64(s.Sockets))
	c.restoring.send(ch, float64(s.Restoring))
	c.namespaces.send(ch, float64(s.Namespaces))
	c.opened.send(ch, float64(s.Opened))
	c.recovered.send(ch, float64(s.Recovered))
	c.parked.send(ch, float64(s.Parked))
	c.expired.send(ch, float64(s.Expired))
	c.origins.send(ch, float64(s.OriginsRefused))
	c.turnedAway.send(ch, float64(s.TurnedAway))
	c.oversize.send(ch, float64(s.Oversize))
	for reason, n := range s.Refused {
		c.refused.send(ch, float64(n), reason)
	}
	for reason, n := range s.Disconnects {
		c.disconnects.send(ch, float64(n), string(reason))
	}
	for reason, n := range s.ConnectsRefused {
		c.connectsRefused.send(ch, float64(n), reason)
	}
	c.rateLimited.send(ch, float64(s.RateLimited))
	c.badPayloads.send(ch, float64(s.BadPayloads))
	c.unhandled.send(ch, float64(s.Unhandled))
	c.logDropped.send(ch, float64(s.LogDropped))
	c.replayed.histogram(ch, s.Replayed)
	c.restored.histogram(ch, s.Restored)
}

// NodeOptions configures a NodeCollector. The zero value has the defaults.
type NodeOptions struct {
	// ClusterStatsInterval is the maximum age of the statistics of the whole cluster. An
	// older one is queried again when Prometheus scrapes. Default: one minute.
	ClusterStatsInterval time.Duration

	// ClusterStatsTimeout bounds the query of these statistics. Default: 5 s.
	ClusterStatsTimeout time.Duration

	// Logger receives a line when that query fails. Default: slog.Default().
	Logger *slog.Logger
}

// A NodeCollector collects the counters of a node, and the statistics of the cluster in
// the database. It implements prometheus.Collector.
type NodeCollector struct {
	db   *pgadapter.DB
	opts NodeOptions

	healthy, position, behind, notified, confirmed family
	queueEvents, queueBytes, writes, claims        family
	appends, batches, retries, resets              family
	nodes, sessions, low, high, batchesKept, bytes family
	outbox, notify                                 family

	mu      sync.Mutex
	cluster pgadapter.ClusterStats
	queried time.Time
	known   bool
}

// NewNodeCollector returns a collector for the node. A nil opts means the defaults.
func NewNodeCollector(db *pgadapter.DB, opts *NodeOptions) *NodeCollector {
	var o NodeOptions
	if opts != nil {
		o = *opts
	}
	if o.ClusterStatsInterval == 0 {
		o.ClusterStatsInterval = time.Minute
	}
	if o.ClusterStatsTimeout == 0 {
		o.ClusterStatsTimeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &NodeCollector{
		db: db, opts: o,
		healthy:     gauge("healthy", "Whether the node is in the cluster and reads the log."),
		position:    gauge("log_position", "Position up to which the node has read the log."),
		behind:      gauge("log_behind_seconds", "Time since the node had last read the log to its end."),
		notified:    gauge("notification_age_seconds", "Time since the last notification was received."),
		confirmed:   gauge("heartbeat_age_seconds", "Time since the last heartbeat that Postgres has confirmed."),
		queueEvents: gauge("queue_events", "Events that were published and are not in the log yet."),
		queueBytes:  gauge("queue_bytes", "Size of the events that were published and are not in the log yet."),
		writes:      gauge("session_writes_waiting", "Changes of sessions that wait to be written."),
		claims:      gauge("session_claims_waiting", "Returning clients that wait for their session."),
		appends:     counter("append_seconds", "Time from the first attempt of an append to its answer."),
		batches:     counter("append_events", "Events in an append."),
		retries:     counter("append_retries_total", "Appends that were retried."),
		resets:      counter("resets_total", "Times that the node disconnected all its clients."),
		nodes:       gauge("cluster_nodes", "Nodes of the cluster."),
		sessions:    gauge("cluster_sessions", "Sessions of the cluster.", "state"),
		low:         gauge("cluster_log_low", "The newest position that is no longer kept."),
		high:        gauge("cluster_log_high", "The newest position of all."),
		batchesKept: gauge("cluster_log_batches", "Batches that the log keeps."),
		bytes:       gauge("cluster_log_bytes", "Size of the log on disk."),
		outbox:      gauge("cluster_outbox_events", "Events that SQL has committed and that are not in the log yet."),
		notify:      gauge("cluster_notify_queue_usage", "How full Postgres's queue of notifications is, from 0 to 1."),
	}
}

// Describe implements prometheus.Collector.
func (c *NodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range []family{
		c.healthy, c.position, c.behind, c.notified, c.confirmed, c.queueEvents, c.queueBytes, c.writes, c.claims,
		c.appends, c.batches, c.retries, c.resets, c.nodes, c.sessions, c.low, c.high, c.batchesKept, c.bytes, c.outbox, c.notify,
	} {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *NodeCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.db.Stats()
	healthy := 1.0
	if c.db.Health() != nil {
		healthy = 0
	}
	c.healthy.send(ch, healthy)
	c.position.send(ch, float64(s.Position))
	c.behind.send(ch, time.Since(s.CaughtUp).Seconds())
	if !s.Notified.IsZero() {
		c.notified.send(ch, time.Since(s.Notified).Seconds())
	}
	c.confirmed.send(ch, time.Since(s.Confirmed).Seconds())
	c.queueEvents.send(ch, float64(s.QueueEvents))
	c.queueBytes.send(ch, float64(s.QueueBytes))
	c.writes.send(ch, float64(s.Writes))
	c.claims.send(ch, float64(s.Claims))
	c.appends.histogram(ch, s.Appends)
	c.batches.histogram(ch, s.Batches)
	c.retries.send(ch, float64(s.Retries))
	c.resets.send(ch, float64(s.Resets))
	c.collectCluster(ch)
}

// collectCluster collects the latest statistics of the cluster, or nothing after a query
// has failed.
func (c *NodeCollector) collectCluster(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queried.IsZero() || time.Since(c.queried) >= c.opts.ClusterStatsInterval {
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.ClusterStatsTimeout)
		defer cancel()
		var err error
		if c.cluster, err = c.db.ClusterStats(ctx); err != nil {
			c.opts.Logger.WarnContext(ctx, "statistics of the cluster not available", slog.Any("error", err))
		}
		c.known, c.queried = err == nil, time.Now()
	}
	if !c.known {
		return
	}
	s := &c.cluster
	c.nodes.send(ch, float64(s.Nodes))
	c.sessions.send(ch, float64(s.Live), "live")
	c.sessions.send(ch, float64(s.Parked), "parked")
	c.sessions.send(ch, float64(s.Expired), "expired")
	c.low.send(ch, float64(s.Low))
	c.high.send(ch, float64(s.High))
	c.batchesKept.send(ch, float64(s.Batches))
	c.bytes.send(ch, float64(s.Bytes))
	c.outbox.send(ch, float64(s.Outbox))
	c.notify.send(ch, s.NotifyUse)
}
