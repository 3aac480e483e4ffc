package transport

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// encoding returns how the answer to a poll is compressed: "gzip", "deflate", or
// "" for not at all.
func (a *answer) encoding(size int) string {
	from := a.server.opts.HTTP.CompressFrom
	if from < 0 || size < from || a.w.Header().Get("Content-Encoding") != "" {
		return ""
	}
	for _, name := range []string{"gzip", "deflate"} {
		if accepts(a.r.Header, name) {
			return name
		}
	}
	return ""
}

// accepts tells whether Accept-Encoding names the encoding, and not with a weight
// of zero.
func accepts(h http.Header, encoding string) bool {
	for _, line := range h.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			if !strings.EqualFold(strings.TrimSpace(name), encoding) {
				continue
			}
			weight, found := strings.CutPrefix(strings.TrimSpace(params), "q=")
			q, err := strconv.ParseFloat(weight, 64)
			return !found || err == nil && q > 0
		}
	}
	return false
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
