package transport

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"

	"github.com/pgsocket/socketio/internal/accept"
)

// encoding returns the compression of an answer to a poll: "gzip", "deflate", or "" for
// none.
func (a *answer) encoding(size int) string {
	from := a.server.opts.HTTP.CompressFrom
	if from < 0 || size < from || a.w.Header().Get("Content-Encoding") != "" {
		return ""
	}
	for _, name := range []string{"gzip", "deflate"} {
		if accept.Encoding(a.r.Header, name) {
			return name
		}
	}
	return ""
}

// compressor is a gzip.Writer or a zlib.Writer. Each takes hundreds of kilobytes,
// so they are pooled, and used for one call at a time.
type compressor interface {
	io.WriteCloser
	Reset(w io.Writer)
}

func (p *pools) compress(dst *bytes.Buffer, encoding string, payload []byte) {
	pool := &p.gzips
	if encoding == "deflate" {
		pool = &p.zlibs
	}

	c, ok := pool.Get().(compressor)
	switch {
	case ok:
	case encoding == "deflate":
		c = zlib.NewWriter(nil)
	default:
		c = gzip.NewWriter(nil)
	}

	c.Reset(dst)
	_, _ = c.Write(payload) // to memory: never fails
	_ = c.Close()
	pool.Put(c)
}
