package transport_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/transport"
)

func TestPolling_RefusalBodies(t *testing.T) {
	t.Parallel()

	var reported *transport.ConnectionError
	server, opened := serve(t, &transport.Options{
		AllowRequest: func(r *http.Request) error {
			if r.URL.Query().Get("who") == "eve" {
				return &transport.ForbiddenError{Message: `no "eve"`}
			}
			return nil
		},
		HTTP: transport.HTTP{
			Transports:        []string{transport.Polling},
			OnConnectionError: func(e *transport.ConnectionError) { reported = e },
			Headers:           func(h http.Header, _ *http.Request) { h.Set("X-Every", "1") },
		},
	})
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, pollURL, http.NoBody))
	sid := (<-opened).session.ID()

	for _, row := range []struct {
		method, query, origin string
		status                int
		body                  string
		code                  int
		context               map[string]string
	}{
		{"GET", "EIO=4", "", 400, `{"code":0,"message":"Transport unknown"}`, 0, map[string]string{"transport": ""}},
		{"GET", "EIO=4&transport=websocket", "", 400, `{"code":0,"message":"Transport unknown"}`, 0, map[string]string{"transport": "websocket"}},
		{"GET", "EIO=4&transport=polling&sid=x", "", 400, `{"code":1,"message":"Session ID unknown"}`, 1, map[string]string{"sid": "x"}},
		{"POST", "EIO=4&transport=polling", "", 400, `{"code":2,"message":"Bad handshake method"}`, 2, map[string]string{"method": "POST"}},
		{"OPTIONS", "EIO=4&transport=polling", "", 400, `{"code":2,"message":"Bad handshake method"}`, 2, map[string]string{"method": "OPTIONS"}},
		{"HEAD", "EIO=4&transport=polling", "", 400, `{"code":2,"message":"Bad handshake method"}`, 2, map[string]string{"method": "HEAD"}},
		{"GET", "EIO=4&transport=polling", "a\x01b", 400, `{"code":3,"message":"Bad request"}`, 3, map[string]string{"name": "INVALID_ORIGIN"}},
		{"GET", "EIO=3&transport=polling&sid=" + sid, "", 400, `{"code":3,"message":"Bad request"}`, 3, map[string]string{"name": "PROTOCOL_MISMATCH"}},
		{"GET", "EIO=4&transport=polling&who=eve", "", 403, `{"code":4,"message":"no \"eve\""}`, 4, map[string]string{"message": `no "eve"`}},
		{"GET", "EIO=3&transport=polling", "", 400, `{"code":5,"message":"Unsupported protocol version"}`, 5, map[string]string{"protocol": "3"}},
	} {
		reported = nil
		w := httptest.NewRecorder()
		r := httptest.NewRequest(row.method, "/engine.io/?"+row.query, http.NoBody)
		r.Header.Set("Origin", row.origin)
		server.ServeHTTP(w, r)
		if w.Code != row.status || w.Body.String() != row.body || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Every") != "1" {
			t.Errorf("%s %s: %d %s %v", row.method, row.query, w.Code, w.Body, w.Header())
		}
		if reported == nil || reported.Code != row.code || reported.Request != r || !maps.Equal(reported.Context, row.context) {
			t.Errorf("%s %s: OnConnectionError got %+v, want code %d, %v", row.method, row.query, reported, row.code, row.context)
		}
	}

	w = httptest.NewRecorder() // an upgrade with polling as the transport
	r := httptest.NewRequest(http.MethodGet, pollURL+"&sid="+sid, http.NoBody)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	server.ServeHTTP(w, r)
	if w.Code != 400 || reported.Context["name"] != "TRANSPORT_MISMATCH" {
		t.Errorf("got %d, OnConnectionError got %+v", w.Code, reported)
	}
}

func TestCookieAndHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := 0
		h := transport.HTTP{
			Cookie:         &http.Cookie{},
			InitialHeaders: func(h http.Header, _ *http.Request) { first++; h.Set("X-First", "1") },
			Headers:        func(h http.Header, _ *http.Request) { h.Set("X-Every", "1") },
		}
		server, opened := serve(t, &transport.Options{HTTP: h})
		w := newWeb(t, server)
		got := w.do(t.Context(), http.MethodGet, pollURL, "")
		r := <-opened
		want := "io=" + r.session.ID() + "; Path=/; HttpOnly; SameSite=Lax"
		if c := got.header.Get("Set-Cookie"); c != want || h.Cookie.Value != "" {
			t.Errorf("cookie %q, want %q", c, want)
		}
		if got.header.Get("X-First") != "1" || got.header.Get("X-Every") != "1" {
			t.Errorf("headers %v", got.header)
		}

		p := &poller{web: w, url: pollURL + "&sid=" + r.session.ID()}
		got = p.post("4a")
		if got.header.Get("X-First") != "" || got.header.Get("X-Every") != "1" || got.header.Get("Set-Cookie") != "" {
			t.Errorf("headers of the second answer %v", got.header)
		}

		conn, _ := w.pipes.dial(context.Background(), "", "")
		defer func() { _ = conn.Close() }()
		go func() { _, _ = io.WriteString(conn, upgradeRequest+"\r\n") }()
		s := &socket{t: t, conn: conn, in: bufio.NewReader(conn)}
		resp, err := http.ReadResponse(s.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("X-First") != "1" || resp.Header.Get("X-Every") != "1" || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("headers of the WebSocket %v", resp.Header)
		}
		if first != 2 {
			t.Errorf("%d first answers of 2 sessions", first)
		}
	})
}

func TestPolling_Compression(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 400)
	for _, row := range []struct {
		from         int
		accept, text string
		want         string
	}{
		{0, "gzip, deflate", long, "gzip"},
		{0, "br;q=1, deflate", long, "deflate"},
		{0, "GZIP;q=0.5", long, "gzip"},
		{0, "gzip;q=0, deflate;q=0.0", long, ""},
		{0, "", long, ""},
		{0, "br", long, ""},
		{0, "gzip", strings.Repeat("x", 1022), ""},
		{0, "gzip", strings.Repeat("x", 1023), "gzip"},
		{10, "gzip", "0123456789", "gzip"},
		{-1, "gzip", long, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, r := poll(t, &transport.Options{HTTP: transport.HTTP{CompressFrom: row.from}})
			for range 2 { // the second with the pooled compressor of the first
				_ = r.session.Send(transport.Text([]byte(row.text)))
				got := p.get("Accept-Encoding", row.accept)
				if e := got.header.Get("Content-Encoding"); e != row.want {
					t.Fatalf("%+v: got %q", row, e)
				}
				if text := inflate(t, row.want, got.body); text != "4"+row.text {
					t.Fatalf("%+v: got %q", row, text)
				}
			}
		})
	}
}

func inflate(t *testing.T, encoding, body string) string {
	t.Helper()
	in := io.Reader(strings.NewReader(body))
	var err error
	switch encoding {
	case "gzip":
		in, err = gzip.NewReader(in)
	case "deflate":
		in, err = zlib.NewReader(in)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPerMessageDeflate_Negotiation(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		on    bool
		offer string
		want  string
	}{
		{false, "permessage-deflate", ""},
		{true, "", ""},
		{true, "permessage-bzip2", ""},
		{true, "permessage-deflate; client_max_window_bits", "permessage-deflate;server_no_context_takeover;client_no_context_takeover"},
		{true, "permessage-deflate; server_max_window_bits=10", ""}, // the standard library has no such window
	} {
		synctest.Test(t, func(t *testing.T) {
			server, opened := serve(t, &transport.Options{HTTP: transport.HTTP{PerMessageDeflate: row.on}})
			conn, _ := newWeb(t, server).pipes.dial(context.Background(), "", "")
			offer := ""
			if row.offer != "" {
				offer = "Sec-WebSocket-Extensions: " + row.offer + "\r\n"
			}
			c := upgradeConn(t, conn, offer)
			defer func() { _ = conn.Close() }()
			if got := strings.ReplaceAll(c.header.Get("Sec-Websocket-Extensions"), " ", ""); got != row.want {
				t.Fatalf("%+v: got %q", row, got)
			}
			_, _, _ = c.readFrame() // the handshake
			_ = (<-opened).session.Send(transport.Text([]byte(strings.Repeat("long ", 1000))))
			if h, data, err := c.readFrame(); err != nil || h.Rsv1() != (row.want != "") || h.Rsv1() && len(data) > 100 {
				t.Errorf("%+v: %+v, %v", row, h, err)
			}
		})
	}
}

// TestPolling_HTTPServerDeadlines checks polls longer than WriteTimeout, which net/http
// measures from the request.
func TestPolling_HTTPServerDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, _ := serve(t, nil)
		w := newWebOf(t, &http.Server{Handler: server, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
		p := w.open()
		for range 3 {
			p.want(p.get(), 200, "2") // after 25 s
			p.want(p.post("3"), 200, "ok")
		}
	})
}

// TestPolling_CompressedPost checks that a compressed POST is not decompressed.
func TestPolling_CompressedPost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bomb bytes.Buffer
		z := gzip.NewWriter(&bomb)
		_, _ = z.Write([]byte("4" + strings.Repeat("x", 1<<20)))
		_ = z.Close()
		p, r := poll(t, nil)
		p.want(p.post(bomb.String(), "Content-Encoding", "gzip"), 200, "ok")
		r.wantClosed(t, transport.ReasonParseError)
	})
}

func TestOptions_HTTP_Invalid(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]transport.HTTP{
		"Transports is empty":  {Transports: []string{}},
		`has "webtransport"`:   {Transports: []string{"webtransport"}},
		"UpgradeTimeout is -1": {UpgradeTimeout: -1},
	} {
		_, err := transport.NewServer(&transport.Options{HTTP: h}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestPolling_ResponseDeadline_IsReset checks that the deadline does not affect the next
// request on the connection, to a slow handler.
func TestPolling_ResponseDeadline_IsReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, &transport.Options{WriteTimeout: time.Second})
		mux := http.NewServeMux()
		mux.Handle("/engine.io/", server)
		mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Second) // virtual
			_, _ = io.WriteString(w, "slow")
		})
		w := newWeb(t, mux)
		p := w.open()
		r := <-opened
		_ = r.session.Send(transport.Text([]byte("a")))
		p.want(p.get(), 200, "4a")
		w.want(w.do(t.Context(), http.MethodPost, "http://server/slow", "x"), 200, "slow") // a GET would be tried again
	})
}

// TestPolling_UnreadResponse checks that the session of a client that does not read an
// answer ends after the write timeout, and that another session is not affected.
func TestPolling_UnreadResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		w := newWeb(t, server)
		stuck, r := w.open(), <-opened
		healthy, h := w.open(), <-opened
		stuck.raw("GET", "")
		start := time.Now()
		_ = r.session.Send(transport.Text([]byte(strings.Repeat("x", 100_000))))
		_ = h.session.Send(transport.Text([]byte("a")))
		healthy.want(healthy.get(), 200, "4a")
		<-r.closed
		r.wantClosed(t, transport.ReasonTransportError)
		if since := time.Since(start); since != 15*time.Second {
			t.Errorf("after %v", since)
		}
	})
}

// TestPolling_ManyHalfRequests_Memory checks that bodies that do not arrive take no memory
// for their announced length.
func TestPolling_ManyHalfRequests_Memory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, opened := serve(t, nil)
		w := newWeb(t, server)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range 100 {
			p := w.open()
			<-opened
			half := p.raw("POST", "Content-Length: 900000\r\n")
			_, _ = io.WriteString(half.conn, "4half")
		}
		synctest.Wait()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 { // announced: 90 MB
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		healthy := w.open()
		r := <-opened
		healthy.want(healthy.post("4a"), 200, "ok")
		if got := <-r.messages; got != "a" {
			t.Error(got)
		}
	})
}
