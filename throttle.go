package socketio

import (
	"errors"
	"time"

	"github.com/pgsocket/socketio/packet"
)

var errRateLimit = errors.New("client exceeded the rates in the server's options for longer than ThrottleTimeout")

const (
	// eventBurst and connectBurst are the bursts that a client may send, in seconds of
	// its rate.
	eventBurst   = time.Second
	connectBurst = 10 * time.Second
	// leastPause is how far a client may be ahead before its connection is paused, to
	// limit the number of timers.
	leastPause = 10 * time.Millisecond
)

// A throttle slows a client down to the rates in Options (EventsPerSecond,
// BytesPerSecond, ConnectsPerSecond): its connection is paused for as long as the
// client is ahead of them. Only the reader uses it.
type throttle struct {
	events, bytes, connects bucket
	since                   time.Duration // since when the client exceeds the rates, if slowed
	slowed                  bool
}

func newThrottle(o *Options) throttle {
	return throttle{
		events:   newBucket(o.EventsPerSecond, eventBurst),
		bytes:    newBucket(o.BytesPerSecond, eventBurst),
		connects: newBucket(o.ConnectsPerSecond, connectBurst),
	}
}

// take counts bytes, the packets that they complete, and how many of these are CONNECT.
// It returns for how long to pause the client.
func (t *throttle) take(now time.Duration, size, packets, connects int) time.Duration {
	ahead := max(t.bytes.take(now, size), t.events.take(now, packets), t.connects.take(now, connects))
	if t.slowed && t.events.half(now) && t.bytes.half(now) && t.connects.half(now) {
		t.slowed = false
	}
	if ahead < leastPause {
		return 0
	}
	if !t.slowed {
		t.slowed, t.since = true, now
	}
	return ahead
}

// exceeded reports whether a client exceeds the rates for longer than the limit, at the
// end of the pause.
func (t *throttle) exceeded(now, pause, limit time.Duration) bool {
	return now+pause-t.since > limit
}

// A bucket is a token bucket, represented by the time at which it will be full.
type bucket struct {
	perSecond int           // tokens that are added; 0 for no limit
	burst     time.Duration // the time that fills an empty bucket
	full      time.Duration // when, on the connection's clock
}

func newBucket(perSecond int, burst time.Duration) bucket {
	if perSecond <= 0 {
		return bucket{}
	}
	return bucket{perSecond: perSecond, burst: burst}
}

// take takes n tokens, even if there are fewer, and returns the time until the missing
// ones are added.
func (b *bucket) take(now time.Duration, n int) time.Duration {
	if b.perSecond == 0 || n == 0 {
		return 0
	}
	b.full = max(b.full, now) + time.Duration(n)*time.Second/time.Duration(b.perSecond)
	return b.full - b.burst - now
}

// half reports whether the bucket is at least half full.
func (b *bucket) half(now time.Duration) bool { return b.full-now <= b.burst/2 }

// counted counts a message, and the packet that it completes, if it does.
func (c *conn) counted(size int, p *packet.Packet) error {
	switch {
	case p == nil:
		return c.slowDown(size, 0, 0)
	case p.Type == packet.Connect:
		return c.slowDown(size, 1, 1)
	default:
		return c.slowDown(size, 1, 0)
	}
}

// Overhead implements transport.Meter: anything that is not a message counts as a packet.
func (c *conn) Overhead(size int) error { return c.slowDown(size, 1, 0) }

// slowDown counts what the client has sent. It closes the connection if the client
// exceeds the rates for too long.
func (c *conn) slowDown(size, packets, connects int) error {
	o := &c.server.opts
	now := time.Since(c.opened)
	pause := c.throttle.take(now, size, packets, connects)
	if pause == 0 {
		return nil
	}
	if o.ThrottleTimeout > 0 && c.throttle.exceeded(now, pause, o.ThrottleTimeout) {
		c.server.counters.rateLimited.Add(1)
		for _, s := range c.all() {
			s.detach(&DisconnectError{Reason: ReasonRateLimit, Err: errRateLimit})
		}
		return errRateLimit
	}
	c.session.Pause()
	time.AfterFunc(pause, c.session.Resume)
	return nil
}
