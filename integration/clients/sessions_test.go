package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/pgsocket/socketio"
	"github.com/pgsocket/socketio/integration/harness"
)

// A session is the messages that a client sends over a WebSocket. The prefix "b:" marks a binary one.
type session []string

// A sessionResult is what a server sent, up to the end of the session, and whether it closed the connection. What it
// sent before it closed the connection depends on timing, and is left out.
type sessionResult struct {
	Sent   []string
	Closed bool
}

// startServer starts a server that behaves like js/sessions.mjs, and returns its URL.
func startServer(t *testing.T) string {
	t.Helper()
	server := socketio.NewServer(&socketio.Options{
		PingInterval: 10 * time.Minute, Recovery: socketio.Recovery{Disabled: true}, Logger: slog.New(slog.DiscardHandler),
	})
	const got socketio.Event[string] = "got"
	for _, name := range []string{"/", "/a"} {
		server.Of(name).Intercept(func(socketio.Handler) socketio.Handler {
			return func(ctx context.Context, m *socketio.Message) error {
				text, err := formatMessage(m)
				if err != nil {
					return err
				}
				if err := got.Emit(ctx, m.Socket(), text); err != nil || !m.WantsReply() {
					return err
				}
				return m.Reply("ok")
			}
		})
	}
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), harness.MaxWait)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	return web.URL
}

// formatMessage returns the event as JSON.
func formatMessage(m *socketio.Message) (string, error) {
	dst := make([]any, len(m.Args()))
	for i, arg := range m.Args() {
		dst[i] = new(json.RawMessage)
		if bytes.Contains(arg, []byte(`"_placeholder":true`)) {
			dst[i] = new([]byte)
		}
	}
	if err := m.Decode(dst...); err != nil { // without attachments a placeholder is data
		for i := range dst {
			dst[i] = new(json.RawMessage)
		}
		if err := m.Decode(dst...); err != nil {
			return "", err
		}
	}
	all := []any{m.Event()}
	for _, d := range dst {
		if b, ok := d.(*[]byte); ok {
			d = map[string]string{"$bin": base64.StdEncoding.EncodeToString(*b)}
		}
		all = append(all, d)
	}
	text, err := json.Marshal(all)
	return string(text), err
}

// startOfficialServer starts the official server, and returns its URL.
func startOfficialServer(t *testing.T) string {
	t.Helper()
	node := exec.CommandContext(t.Context(), "node", "sessions.mjs")
	node.Dir = "../js"
	in, out := harness.StartPiped(t, node)
	t.Cleanup(func() {
		_ = in.Close()
		_ = node.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// run plays a session to a server, and then an event that marks its end. After each message it gives the server time
// to answer: two pings, or until it has sent as much as in steps, the result of the official server, which run
// returns as done.
func (s session) run(ctx context.Context, url string, steps []int) (v sessionResult, done []int, err error) {
	conn, in, _, err := ws.Dial(ctx, strings.Replace(url, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		return v, nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	if in != nil {
		r = in
	}
	if _, err := nextFrame(r); err != nil { // the handshake
		return v, nil, err
	}
	for i, m := range append(slices.Clone(s), `42["end"]`) {
		frame := ws.NewTextFrame([]byte(m))
		if data, ok := strings.CutPrefix(m, "b:"); ok {
			frame = ws.NewBinaryFrame([]byte(data))
		}
		send(conn, frame)
		send(conn, ws.NewPingFrame([]byte("p")))
		for pongs := 0; pongs < 2 || i < len(steps) && len(v.Sent) < steps[i]; {
			text, err := nextFrame(r)
			switch {
			case errors.Is(err, errClosed):
				return sessionResult{Closed: true}, done, nil
			case err != nil:
				return v, done, fmt.Errorf("after %q: %w", m, err)
			case text != "pong":
				v.Sent = append(v.Sent, normalize(text))
			case pongs == 0:
				send(conn, ws.NewPingFrame([]byte("p")))
				fallthrough
			default:
				pongs++
			}
		}
		done = append(done, len(v.Sent))
	}
	for !slices.Contains(v.Sent, `42["got",["end"]]`) {
		text, err := nextFrame(r)
		if errors.Is(err, errClosed) {
			return sessionResult{Closed: true}, done, nil
		}
		if err != nil {
			return v, done, err
		}
		v.Sent = append(v.Sent, normalize(text))
	}
	return v, done, nil
}

func send(w io.Writer, f ws.Frame) { _, _ = w.Write(ws.MustCompileFrame(ws.MaskFrame(f))) }

// normalize removes what differs between sessions, and encodes JSON in one way.
func normalize(text string) string {
	if head, _, ok := strings.Cut(text, `{"sid":`); ok {
		return head + "connected"
	}
	var got []string
	var args any
	if data, ok := strings.CutPrefix(text, "42"); ok && json.Unmarshal([]byte(data), &got) == nil && len(got) == 2 && json.Unmarshal([]byte(got[1]), &args) == nil {
		if again, err := json.Marshal(args); err == nil {
			return `42["got",` + string(again) + "]"
		}
	}
	return text
}

var errClosed = errors.New("closed")

// nextFrame returns the text of the next frame, and "pong" for a pong.
func nextFrame(r io.Reader) (string, error) {
	h, err := ws.ReadHeader(r)
	if err == nil && h.OpCode == ws.OpClose {
		return "", errClosed
	}
	data := make([]byte, h.Length)
	if err == nil {
		_, err = io.ReadFull(r, data)
	}
	switch e := net.Error(nil); {
	case errors.As(err, &e) && e.Timeout():
		return "", err
	case err != nil:
		return "", errClosed
	case h.OpCode == ws.OpPong:
		return "pong", nil
	}
	return string(data), nil
}

// TestSessions_MatchOfficialServer plays the same sessions to both servers, and compares what each sends and whether
// it closes the connection. Intended differences are listed.
func TestSessions_MatchOfficialServer(t *testing.T) {
	t.Parallel()
	theirs, here := startOfficialServer(t), startServer(t)
	sessions := slices.Concat(sessionTable(), randomSessions(600))
	differ := 0
	for _, s := range sessions {
		want, steps, err := s.run(t.Context(), theirs, nil)
		if err != nil {
			t.Fatalf("%q: official: %v", s, err)
		}
		d := expectedDifference(s)
		if d != nil {
			steps = steps[:min(len(steps), 1)] // this server may send less, except the answer to a first CONNECT
			if s[0] != "40" {
				steps = nil
			}
		}
		got, _, err := s.run(t.Context(), here, steps)
		switch {
		case err != nil:
		case d != nil && (d.closes || want.Closed == got.Closed):
			continue
		case d == nil && want.Closed == got.Closed && slices.Equal(want.Sent, got.Sent):
			continue
		}
		differ++
		t.Errorf("%q: %v\n got %+v\nwant %+v", s, err, got, want)
	}
	t.Logf("%d sessions, %d differ", len(sessions), differ)
}

// A difference is an intended one, with its reason.
type difference struct {
	pattern *regexp.Regexp // of a message
	closes  bool           // one of the servers closes the connection, the other does not
	reason  string
}

// expectedDifference returns the intended difference for a session, or nil. Of several it prefers one that closes.
func expectedDifference(s session) (expected *difference) {
	for _, m := range s {
		for i, d := range differences {
			if d.pattern.MatchString(m) && (expected == nil || d.closes) {
				expected = &differences[i]
			}
		}
	}
	return expected
}

var differences = []difference{
	{regexp.MustCompile(`^1$`), true, "a CLOSE packet ends the session at once, and not with the next ping"},
	{regexp.MustCompile(`[0-9]{16}`), true, "an ack id that JavaScript rounds is refused"},
	{regexp.MustCompile(`^4[56][^-]*[^-0-9\s][^-]*-`), true, "a count of attachments is written in digits"},
	{regexp.MustCompile(`^42[\s0-9]*$`), false, "an event without a name has no handler; JavaScript calls the listeners of undefined"},
	{regexp.MustCompile(`^42\[1e3\]$`), false, "a number that names an event stays as it is written"},
	{regexp.MustCompile(`^4(3|61-)/(a|none)`), true, "an ack for a namespace that the client is not in is late, and ignored"},
	{regexp.MustCompile(`^451-\[("e"|"e",\{"_placeholder":1.*)\]$`), true, "each attachment has a placeholder"},
	{regexp.MustCompile(`1e999`), false, "a number that JavaScript makes null stays as it is"},
	{regexp.MustCompile(`_placeholder.*(0\.5|"x")`), true, "a placeholder is exactly one"},
}

func sessionTable() (all []session) {
	for _, m := range []string{
		// Engine.IO
		"", "0", "0{}", "1", "2", "2probe", "3", "3probe", "3x", "4", "5", "5x", "6", "6x", "7", "8", "9", "a", "b", "bAQID", " ", "-", "é", "\x1e", "4\x1e", "b:", "b:\x01", "٣",
		// Socket.IO: types, namespaces, ids, payloads
		`42["e"]`, `42["e",1,"x",null,[],{}]`, `42[1]`, `42[-1.5]`, `42[1e3]`, `42[]`, `42[null]`, `42[{}]`, `42["e"`, `42e`, `42`, `42 `, `42{}`, `42"e"`, `42null`, `42["e"] `, `42 ["e"]`, "42\n[\"e\"]", "42\t[\"e\"]", `42["e"]x`,
		`420["e"]`, `427["e"]`, `4200["e"]`, `42-1["e"]`, `421.5["e"]`, `42999999999999999999["e"]`, `429007199254740991["e"]`, `429007199254740993["e"]`, `4218446744073709551616["e"]`, `421`, `427 ["e"]`, `42 7["e"]`,
		`42["connect"]`, `42["connect_error"]`, `42["disconnect"]`, `42["disconnecting"]`, `42["newListener"]`, `42["removeListener"]`, `42["error"]`, `42["message"]`, `42["got"]`, `42["\u0063onnect"]`, `42["__proto__"]`, `42[""]`,
		`43`, `43[]`, `431[]`, `431["x"]`, `43["x"]`, `431{}`, `431`, `43 1[]`,
		`40`, `40{}`, `40{"a":1}`, `40[]`, `40null`, `401`, `401{}`, `40"x"`, `40/`, `40/,`, `40/a`, `40/a,`, `40/a,{}`, `40/a{}`, `40/none`, `40/none,{}`, `40a`, `40{`, `40/a?x=1,`, `40,`, `40/a,5{}`,
		`41`, `41/`, `41{}`, `41/,`, `41x`, `411`, `41/a`, `41/a,`, `41 `,
		`44`, `44{}`, `44"x"`, `44{"message":"x"}`, `44/a,{}`,
		`42/["e"]`, `42/,["e"]`, `42/a,["e"]`, `42/none,["e"]`, `42/a["e"]`, `42,["e"]`, `42/,1["e"]`,
		`45`, `45-["e"]`, `450-["e"]`, `451-["e"]`, `4511-["e"]`, `4510-["e"]`, `45-1-["e"]`, `451.0-["e"]`, `451e0-["e"]`, `450x1-["e"]`, `45 1-["e"]`, `45+1-["e"]`, `4501-["e"]`, `45x-["e"]`, `451["e"]`, `451`, `451-`, `46`, `461-[]`, `461-1[]`, `451-/a,["e"]`,
		`47`, `48["e"]`, `4x`, `4 `, `4-1`, `4é`,
		`42["e","\ud800"]`, `42["e","\u0000"]`, `42["é","😀"]`, `42["e",1e999]`, `42["e",01]`, `42["e",'x']`, `42["e",NaN]`, `42["e",]`, `42["e"/**/]`, "42[\"e\",\"\x01\"]", "42[\"e\",\"\x7f\u2028\"]", `42["e",{"a":1,"a":2}]`, `42["e",{"__proto__":1}]`, "\ufeff42[\"e\"]", "42\ufeff[\"e\"]", "42\u00a0[\"e\"]", "42\u2003[\"e\"]",
		`42["e",{"_placeholder":true,"num":0}]`,
	} {
		all = append(all, session{"40", m}, session{m})
	}
	const one = `451-["e",{"_placeholder":true,"num":0}]`
	return append(all,
		session{"40", one, "b:\x01"}, session{"40", one, "bAQ=="}, session{"40", one, "bAQ"}, session{"40", one, "b-_"}, session{"40", one, "b"}, session{"40", one, "b:"}, session{"40", one, "b@@"},
		session{"40", `45 1-["e",{"_placeholder":true,"num":0}]`, "b:\x01"}, session{"40", `451 -["e",{"_placeholder":true,"num":0}]`, "b:\x01"}, session{"40", `4501-["e",{"_placeholder":true,"num":0}]`, "b:\x01"},
		session{"40", one, `42["e"]`}, session{"40", one, "2"}, session{"40", one, "3", "b:\x01"}, session{"40", one, "6", "b:\x01"}, session{"40", one, "b:\x01", "b:\x01"}, session{"40", one, "41", "b:\x01"},
		session{"40", `452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, "b:\x01", "bAg=="},
		session{"40", `452-["e",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`, "b:\x01", "b:\x02"},
		session{"40", `451-["e",{"_placeholder":true,"num":1}]`, "b:\x01"}, session{"40", `451-["e",{"_placeholder":true,"num":-1}]`, "b:\x01"}, session{"40", `451-["e",{"_placeholder":true,"num":"0"}]`, "b:\x01"},
		session{"40", `451-["e",{"_placeholder":true}]`, "b:\x01"}, session{"40", `451-["e",{"_placeholder":true,"num":0.5}]`, "b:\x01"}, session{"40", `451-["e"]`, "b:\x01"}, session{"40", `451-["e",{"_placeholder":1,"num":0}]`, "b:\x01"},
		session{"40", `451-["e",{"num":0,"_placeholder":true}]`, "b:\x01"}, session{"40", `451-["e",{"_placeholder":true,"num":0,"x":1}]`, "b:\x01"},
		session{"40", `451-[{"_placeholder":true,"num":0}]`, "b:\x01"}, session{"40", `451-5["e",{"_placeholder":true,"num":0}]`, "b:\x01"}, session{"40", `461-5[{"_placeholder":true,"num":0}]`, "b:\x01"}, session{"40", `461-[{"_placeholder":true,"num":0}]`, "b:\x01"},
		session{"40", "41", "40"}, session{"40", "41", "40", `42["e"]`}, session{"40", "40"}, session{"40", "40/a", `42/a,["e"]`, "41/a", "40/a", `42/a,7["e"]`}, session{"40", "40/none", "40/none", `42["e"]`}, session{"40/none", "40"}, session{"40", "40/a,", "40/a,"}, session{"40/a", `42/a,["e"]`, "40"}, session{"40", "41/a"}, session{"40", "41"},
	)
}

// randomSessions returns sessions of random parts.
func randomSessions(n int) (all []session) {
	r := rand.New(rand.NewPCG(11, 13))
	types := []string{"40", "41", "42", "43", "44", "451-", "461-", "452-", "4", "2", "3", "6", "47"}
	namespaces := []string{"", "", "", "/,", "/a,", "/a", "/none,"}
	ids := []string{"", "", "0", "7", "007", " ", "1.5", "-1"}
	bodies := []string{`["e"]`, `["e",1]`, `[]`, `{}`, "", `["connect"]`, `[1]`, `["e",{"_placeholder":true,"num":0}]`, `"x"`, `["e"`, " ", "null"}
	for len(all) < n {
		s := session{"40"}
		if r.IntN(10) == 0 {
			s = nil
		}
		for range 1 + r.IntN(4) {
			switch r.IntN(8) {
			case 0:
				s = append(s, "b:"+strconv.Itoa(r.IntN(100)))
			case 1:
				s = append(s, "bAQID")
			case 2, 3, 4:
				s = append(s, `42`+ids[r.IntN(5)]+`["e",`+strconv.Itoa(r.IntN(100))+`]`)
			default:
				s = append(s, types[r.IntN(len(types))]+namespaces[r.IntN(len(namespaces))]+ids[r.IntN(len(ids))]+bodies[r.IntN(len(bodies))])
			}
		}
		all = append(all, s)
	}
	return all
}
