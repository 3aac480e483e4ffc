package clientbundle_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgsocket/socketio/clientbundle"
)

// ask sends a request to the bundles with a server that answers with 418.
func ask(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	server := clientbundle.Beside(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDownload_NotRead_Ends checks that the connection of a client that does not read a bundle is closed.
func TestDownload_NotRead_Ends(t *testing.T) {
	t.Parallel()
	for own, want := range map[time.Duration]time.Duration{0: 2 * time.Minute, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			served := make(chan time.Duration, 1)
			bundles := clientbundle.Beside(http.NotFoundHandler())
			server := &http.Server{WriteTimeout: own, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				began := time.Now()
				bundles.ServeHTTP(w, r)
				served <- time.Since(began)
			})}
			client, serverEnd := net.Pipe()
			conns := &listener{make(chan net.Conn, 1), make(chan struct{})}
			conns.conns <- serverEnd
			go func() { _ = server.Serve(conns) }() // owner: the test; ends with the server
			_, _ = io.WriteString(client, "GET /socket.io/socket.io.js HTTP/1.1\r\nHost: a\r\n\r\n")
			select {
			case took := <-served:
				if took != want {
					t.Errorf("took %v, want %v", took, want)
				}
			case <-time.After(time.Hour):
				t.Error("the download did not end")
			}
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// A listener returns existing connections.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { close(l.done); return nil }
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestBundle_Served(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"} {
		for suffix, kind := range map[string]string{"": "application/javascript; charset=utf-8", ".map": "application/json; charset=utf-8"} {
			path := "/any/where/" + name + suffix
			plain := ask(t, http.MethodGet, path)
			if plain.StatusCode != http.StatusOK || plain.Header.Get("Content-Type") != kind ||
				plain.Header.Get("Cache-Control") != "public, max-age=0" || plain.Header.Get("ETag") != `"`+clientbundle.Version+`"` {
				t.Errorf("%s: status %d, header %v", path, plain.StatusCode, plain.Header)
			}
			text := body(t, plain)
			if want := "Socket.IO v" + clientbundle.Version; suffix == "" && !bytes.Contains(text[:200], []byte(want)) {
				t.Errorf("%s is not %s", path, want)
			}
			zipped := ask(t, http.MethodGet, path, "Accept-Encoding", "br, gzip")
			if zipped.Header.Get("Content-Encoding") != "gzip" {
				t.Fatalf("%s is not compressed", path)
			}
			in, err := gzip.NewReader(zipped.Body)
			if err != nil {
				t.Fatal(err)
			}
			if same, err := io.ReadAll(in); err != nil || !bytes.Equal(same, text) {
				t.Errorf("%s differs after decompression (%v)", path, err)
			}
		}
	}
}

func TestBundle_Caching(t *testing.T) {
	t.Parallel()
	const path = "/socket.io/socket.io.min.js"
	for tag, want := range map[string]int{
		`"` + clientbundle.Version + `"`:               http.StatusNotModified,
		`W/"` + clientbundle.Version + `"`:             http.StatusNotModified,
		`"4.0.0", "` + clientbundle.Version + `-gzip"`: http.StatusOK, // the other form
		`"4.0.0"`: http.StatusOK,
	} {
		r := ask(t, http.MethodGet, path, "If-None-Match", tag)
		if r.StatusCode != want || want == http.StatusNotModified && len(body(t, r)) > 0 {
			t.Errorf("%s: status %d, want %d", tag, r.StatusCode, want)
		}
	}
	if r := ask(t, http.MethodHead, path); r.StatusCode != http.StatusOK || r.Header.Get("Content-Length") == "" || len(body(t, r)) > 0 {
		t.Errorf("HEAD: status %d, header %v", r.StatusCode, r.Header)
	}
}

func TestBundle_OtherPaths(t *testing.T) {
	t.Parallel()
	for _, request := range []string{
		"GET /socket.io/", "GET /socket.io/?EIO=4&transport=websocket", "GET /socket.io/LICENSE", "GET /socket.io/dist",
		"GET /socket.io/socket.io.min.js/", "GET /socket.io/socket.io.min.js.gz", "POST /socket.io/socket.io.js",
		"GET /socket.io/../clientbundle.go",
	} {
		method, path, _ := strings.Cut(request, " ")
		r := ask(t, method, path)
		if isBundle := r.StatusCode != http.StatusTeapot; isBundle {
			t.Errorf("%s: status %d", request, r.StatusCode)
		}
	}
}

// TestBundle_SameAsPackage compares the bundles with the npm package of the
// integration tests, if it is installed.
func TestBundle_SameAsPackage(t *testing.T) {
	t.Parallel()
	official := os.DirFS("../integration/js/node_modules/socket.io-client/dist")
	files, err := fs.ReadDir(official, ".")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the npm package is not installed: run npm ci in integration/js")
	}
	if err != nil || len(files) != 8 {
		t.Fatal(len(files), err)
	}
	for _, f := range files {
		want, err := fs.ReadFile(official, f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, ask(t, http.MethodGet, "/"+f.Name())); !bytes.Equal(got, want) {
			t.Errorf("%s is not the file of the package", f.Name())
		}
	}
}
