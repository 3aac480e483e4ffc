package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// Sizes of the measurement of handlers.
const (
	posters   = 4  // clients that post, on both servers in turn
	receivers = 20 // clients that record what they receive, likewise; io.emit reaches those that post too
	inFlight  = 64 // messages that a client posts before the first is acknowledged
	warmUp    = 1000
	posts     = 2500 // of each client; no more than the stream of the Redis adapter keeps by default
)

// A traffic is what clients saw that post messages, and that receive all of them.
type traffic struct {
	name         string
	acknowledged time.Duration // until all were
	received     time.Duration // until all had all
	processor    float64       // µs per message of the servers
	lost         int           // receipts
	twice        int           // receipts
	reordered    int           // receipts after a later message of the same client
	orders       int           // different orders in which receivers saw the messages
}

// rate returns the messages per second until all were acknowledged and received.
func (t traffic) rate() float64 { return perSecond(max(t.acknowledged, t.received)) }

func perSecond(took time.Duration) float64 { return posters * posts / took.Seconds() }

// String returns one line with all figures.
func (t traffic) String() string {
	return fmt.Sprintf("%s: %.0f messages/s acknowledged, %.0f received, %.0f deliveries/s, %.0f µs of processor per message; "+
		"receipts: %d missing, %d twice, %d out of the order of their client; %d orders at %d receivers", t.name,
		perSecond(t.acknowledged), perSecond(t.received), perSecond(t.received)*(receivers+posters), t.processor,
		t.lost, t.twice, t.reordered, t.orders, receivers)
}

// violation returns what this server promises that it has not kept.
func (t traffic) violation() string {
	if t.lost+t.twice+t.reordered > 0 || t.orders != 1 {
		return "a promise is broken: " + t.String()
	}
	return ""
}

// measure connects clients to the servers, and has some of them post.
func (s *served) measure(ctx context.Context) (t traffic, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("acknowledgements or messages are missing"))
	defer cancel()
	w := &clientSide{}
	defer w.close()
	if err := w.connect(ctx, s.addrs); err != nil {
		return t, err
	}
	stop := context.AfterFunc(ctx, w.hangUp)
	defer stop()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", s.name, err), context.Cause(ctx))
		}
	}()
	if err := w.meet(ctx); err != nil {
		return t, err
	}
	if _, _, err := w.post(warmUp); err != nil {
		return t, err
	}
	before, err := s.processorUsed(ctx)
	if err != nil {
		return t, err
	}
	t.name = s.name
	if t.acknowledged, t.received, err = w.post(posts); err != nil {
		return t, err
	}
	after, err := s.processorUsed(ctx)
	t.processor = micros(after-before) / (posters * posts)
	w.judge(&t)
	return t, err
}

// A clientSide is the clients of a measurement.
type clientSide struct {
	posters   []*postClient
	receivers []*recordingClient
	rest      sync.WaitGroup // the readers of receivers
	first     int            // number of the next message of each client
}

func (w *clientSide) connect(ctx context.Context, addrs []string) error {
	for i := range posters {
		c, err := dialRaw(ctx, addrs[i%len(addrs)])
		if err != nil {
			return err
		}
		w.posters = append(w.posters, &postClient{rawClient: c, number: i})
	}
	for i := range receivers {
		c, err := dialRaw(ctx, addrs[i%len(addrs)])
		if err != nil {
			return err
		}
		r := &recordingClient{rawClient: c}
		w.receivers = append(w.receivers, r)
		w.rest.Go(r.read) // ends with the connection
	}
	return nil
}

func (w *clientSide) close() {
	w.hangUp()
	w.rest.Wait()
}

func (w *clientSide) hangUp() {
	for _, c := range w.posters {
		c.conn.Close()
	}
	for _, r := range w.receivers {
		r.conn.Close()
	}
}

// post has each client post, and returns when all messages are acknowledged and all receivers have them.
func (w *clientSide) post(each int) (acknowledged, received time.Duration, err error) {
	for _, r := range w.receivers {
		r.expect(w.first, posters*each)
	}
	began := time.Now()
	errs := make([]error, posters)
	var all sync.WaitGroup
	for i, c := range w.posters {
		all.Go(func() { errs[i] = c.post(w.first, each) })
	}
	all.Wait()
	acknowledged = time.Since(began)
	w.first += each
	if err := errors.Join(errs...); err != nil {
		return 0, 0, err
	}
	last, err := w.awaitQuiet()
	return acknowledged, last.Sub(began), err
}

// awaitQuiet waits until all receivers have all messages, or nobody has received one for long: an adapter may lose some.
// It returns when the last one was received.
func (w *clientSide) awaitQuiet() (last time.Time, err error) {
	const long = 10 * time.Second
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		all, last := true, time.Time{}
		for _, r := range w.receivers {
			complete, at, err := r.progress()
			if err != nil {
				return last, err
			}
			all = all && complete
			if at.After(last) {
				last = at
			}
		}
		if all || time.Since(began) > long && time.Since(last) > long {
			return last, nil
		}
	}
}

// meet has clients post until every receiver hears from each server: official servers need a moment to find each other.
func (w *clientSide) meet(ctx context.Context) error {
	for !w.heardOfAll() {
		for _, c := range w.posters {
			if err := c.post(w.first, 1); err != nil {
				return err
			}
		}
		w.first++
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (w *clientSide) heardOfAll() bool {
	for _, r := range w.receivers {
		if r.heardOf() < posters {
			return false
		}
	}
	return true
}

// judge compares what the receivers have seen.
func (w *clientSide) judge(t *traffic) {
	orders := make(map[string]bool)
	for _, r := range w.receivers {
		r.mu.Lock()
		var order []byte
		counts := make(map[message]int)
		next := [posters]int{}
		for _, m := range r.seen {
			order = binary.BigEndian.AppendUint32(append(order, byte(m.poster)), uint32(m.number)) //nolint:gosec // small
			if counts[m]++; counts[m] > 1 {
				t.twice++
			}
			if m.number < next[m.poster] {
				t.reordered++
			}
			next[m.poster] = max(next[m.poster], m.number)
		}
		r.mu.Unlock()
		t.lost += posters*posts - len(counts)
		orders[string(order)] = true
	}
	t.orders = len(orders)
}

// A rawClient is a WebSocket client that does no more than it must, so that servers are measured.
type rawClient struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte // frames that are not written yet
}

func dialRaw(ctx context.Context, addr string) (*rawClient, error) {
	conn, early, _, err := ws.Dialer{}.Dial(ctx, "ws://"+addr+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		return nil, err
	}
	in := io.Reader(conn)
	if early != nil { // the handshake may have arrived with the response
		in = io.MultiReader(io.LimitReader(early, int64(early.Buffered())), conn)
	}
	c := &rawClient{conn: conn, in: bufio.NewReaderSize(in, 64<<10)}
	return c, awaitConnect(c.in, conn)
}

// next returns the next text message. It is valid until the next call.
func (c *rawClient) next() ([]byte, error) {
	for {
		head, err := c.in.Peek(2)
		if err != nil {
			return nil, err
		}
		opcode, header, size := head[0]&15, 2, int(head[1])
		if size > 126 {
			return nil, errors.New("a long message")
		}
		if size == 126 {
			if head, err = c.in.Peek(4); err != nil {
				return nil, err
			}
			header, size = 4, int(binary.BigEndian.Uint16(head[2:]))
		}
		frame, err := c.in.Peek(header + size)
		if err != nil {
			return nil, err
		}
		if _, err := c.in.Discard(len(frame)); err != nil {
			return nil, err
		}
		switch ws.OpCode(opcode) {
		case ws.OpText:
			return frame[header:], nil
		case ws.OpClose:
			return nil, io.EOF
		default: // nothing that these clients wait for
		}
	}
}

// send adds a text message of less than 126 bytes to what is written next.
func (c *rawClient) send(text string) {
	c.out = append(c.out, 1<<7|byte(ws.OpText), 1<<7|byte(len(text)), 0, 0, 0, 0) // masked with zeros
	c.out = append(c.out, text...)
}

func (c *rawClient) flush() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// A postClient posts messages.
type postClient struct {
	*rawClient

	number int
}

// post posts messages with numbers from first on, and returns when all are acknowledged.
func (c *postClient) post(first, each int) error {
	sent, answered := 0, 0
	for answered < each {
		for ; sent < each && sent < answered+inFlight; sent++ {
			c.send(fmt.Sprintf(`42%d["post","%d %d %s"]`, first+sent, c.number, first+sent, text))
		}
		if err := c.flush(); err != nil {
			return err
		}
		for more := true; more && answered < each; more = c.in.Buffered() > 0 { // answers that came together
			packet, err := c.next()
			switch {
			case err != nil:
				return err
			case !strings.HasPrefix(string(packet), "43"): // what others post
			case strings.ContainsRune(string(packet), '{'):
				return fmt.Errorf("a message is refused: %s", packet)
			default:
				answered++
			}
		}
	}
	return nil
}

// A message is one of a client.
type message struct{ poster, number int }

// A recordingClient records the messages that it receives.
type recordingClient struct {
	*rawClient

	mu    sync.Mutex
	heard [posters]bool
	from  int // only messages from this number on are recorded
	want  int
	seen  []message
	last  time.Time // when what was recorded last was received
	err   error     // that has ended the connection
}

// progress reports whether as many messages are recorded as wanted, and when the last one was.
func (r *recordingClient) progress() (complete bool, last time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen) >= r.want, r.last, r.err
}

// expect begins to record anew.
func (r *recordingClient) expect(from, messages int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.want, r.seen = from, messages, make([]message, 0, messages)
}

// heardOf returns of how many clients the receiver has received a message.
func (r *recordingClient) heardOf() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, heard := range r.heard {
		if heard {
			n++
		}
	}
	return n
}

func (r *recordingClient) read() {
	for {
		packet, err := r.next()
		if err == nil {
			err = r.take(packet)
		}
		if err != nil {
			r.mu.Lock()
			r.err = err
			r.mu.Unlock()
			return
		}
	}
}

func (r *recordingClient) take(packet []byte) error {
	rest, ok := bytes.CutPrefix(packet, []byte(`42["post","`))
	if !ok {
		return fmt.Errorf("an unexpected packet: %s", packet)
	}
	poster, rest := leading(rest)
	number, _ := leading(rest)
	if poster >= posters {
		return fmt.Errorf("an unexpected message: %s", packet)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard[poster] = true
	if number < r.from {
		return nil
	}
	r.seen = append(r.seen, message{poster, number})
	if r.in.Buffered() == 0 || len(r.seen) == r.want {
		r.last = time.Now()
	}
	return nil
}

// leading returns the number at the start of a text, and what follows the next byte.
func leading(text []byte) (n int, rest []byte) {
	for i, c := range text {
		if c < '0' || c > '9' {
			return n, text[i+1:]
		}
		n = 10*n + int(c-'0')
	}
	return n, nil
}
