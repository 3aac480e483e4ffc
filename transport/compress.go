package transport

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"

	"github.com/pgsocket/socketio/internal/accept"
)

// encoding returns how the answer to a poll is compressed: "gzip", "deflate", or
// "" for not at all.
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
// which is why they are pooled, and borrowed for one call only.
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
	_, _ = c.Write(payload) // to memory
	_ = c.Close()
	pool.Put(c)
}
