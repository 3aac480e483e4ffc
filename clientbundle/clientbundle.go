// Package clientbundle serves the official client to browsers, as the official
// server does by default: /socket.io/socket.io.js next to /socket.io/.
//
//	http.Handle("/socket.io/", clientbundle.Beside(io))
//
// The bundles are embedded in the program, about 1.2 MB.
package clientbundle

import (
	"bytes"
	"compress/gzip"
	"embed"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/pgsocket/socketio/internal/accept"
)

// Version is the version of the npm package socket.io-client whose bundles, in its
// directory dist, are served unchanged.
const Version = "4.8.4"

//go:embed dist
var dist embed.FS

// names are those of the official server. Each bundle has a source map.
var names = []string{"socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"} //nolint:gochecknoglobals // constant

// A bundle is one file. It is compressed at the first request for that.
type bundle struct {
	kind   string
	plain  []byte
	zipped func() []byte
}

// Beside returns a handler that answers requests whose path ends in the name of a
// bundle, such as /socket.io/socket.io.min.js, and passes all others to the server.
// Browsers may cache a bundle and revalidate it by an ETag with the Version.
func Beside(server http.Handler) http.Handler {
	bundles := make(map[string]*bundle, 2*len(names))
	for _, name := range names {
		bundles[name] = load(name, "application/javascript; charset=utf-8")
		bundles[name+".map"] = load(name+".map", "application/json; charset=utf-8")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, name := path.Split(r.URL.Path)
		b, ok := bundles[name]
		if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
			server.ServeHTTP(w, r)
			return
		}
		b.serve(w, r)
	})
}

func load(name, kind string) *bundle {
	data, err := dist.ReadFile("dist/" + name)
	if err != nil {
		panic(err) //nolint:forbidigo // the file is embedded
	}
	return &bundle{kind: kind, plain: data, zipped: sync.OnceValue(func() []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(data) // to memory: never fails
		_ = w.Close()
		return out.Bytes()
	})}
}

// timeout bounds a download, because it does not count for the server's limits of
// connections.
const timeout = 2 * time.Minute

// limit sets the deadline of a download, unless the http.Server has a WriteTimeout.
func limit(w http.ResponseWriter, r *http.Request) {
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.WriteTimeout > 0 {
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout)) // net/http removes it; not every ResponseWriter supports it
}

func (b *bundle) serve(w http.ResponseWriter, r *http.Request) {
	limit(w, r)
	h := w.Header()
	h.Set("Content-Type", b.kind)
	h.Set("Cache-Control", "public, max-age=0")
	h.Add("Vary", "Accept-Encoding")
	content, etag := b.plain, Version
	if accept.Encoding(r.Header, "gzip") {
		content, etag = b.zipped(), Version+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
