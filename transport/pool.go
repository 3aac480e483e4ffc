package transport

import "sync"

// The largest buffer, in bytes, and the longest batch that are pooled. Larger ones are
// left to the garbage collector.
const (
	maxPooledBuffer = 2 * maxWrite
	maxPooledBatch  = 8 << 10
)

// pools are the buffers that the sessions of one server use while they are busy. An
// idle session uses none.
type pools struct {
	buffers sync.Pool // *buffer
	batches sync.Pool // *batch
	writers sync.Pool // *writer
	gzips   sync.Pool // *gzip.Writer
	zlibs   sync.Pool // *zlib.Writer

	deflaters sync.Pool // *flate.Writer
	inflaters sync.Pool // io.ReadCloser of package flate
}

// buffer is a byte slice that can be pooled without allocating.
type buffer struct{ bytes []byte }

// batch is a list of queued messages.
type batch struct{ messages []queued }

// queued is a message and the bytes of Options.QueueBytes that it takes.
type queued struct {
	*Message

	weight int
}

func (p *pools) buffer() *buffer {
	if b, ok := p.buffers.Get().(*buffer); ok {
		return b
	}
	return new(buffer)
}

func (p *pools) putBuffer(b *buffer) {
	if cap(b.bytes) > maxPooledBuffer {
		return
	}
	b.bytes = b.bytes[:0]
	p.buffers.Put(b)
}

func (p *pools) batch() *batch {
	if b, ok := p.batches.Get().(*batch); ok {
		return b
	}
	return new(batch)
}

func (p *pools) putBatch(b *batch) {
	if cap(b.messages) > maxPooledBatch {
		return
	}
	clear(b.messages)
	b.messages = b.messages[:0]
	p.batches.Put(b)
}

func (p *pools) writer() *writer {
	if w, ok := p.writers.Get().(*writer); ok {
		return w
	}
	return new(writer)
}

func (p *pools) putWriter(w *writer) {
	w.chunk = w.chunk[:0]
	p.writers.Put(w)
}
