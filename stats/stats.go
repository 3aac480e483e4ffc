// Package stats contains the types of the counters of a server and of its adapter.
// Package prometheus, in a separate module, exports them to Prometheus.
package stats

import (
	"math"
	"sync/atomic"
)

// A Histogram counts values by upper bounds.
type Histogram struct {
	Bounds []float64 // ascending
	Counts []uint64  // Counts[i]: values of at most Bounds[i], cumulative
	Count  uint64    // of all
	Sum    float64   // of all
}

// A Distribution collects values. It may be used from any goroutine.
type Distribution struct {
	bounds []float64
	counts []atomic.Uint64 // of values between two bounds; the last one is for values above all bounds
	sum    atomic.Uint64   // the bits of a float64
}

// NewDistribution returns an empty distribution over ascending bounds.
func NewDistribution(bounds ...float64) *Distribution {
	return &Distribution{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Durations returns an empty distribution of times in seconds, from half a
// millisecond to half a minute.
func Durations() *Distribution {
	return NewDistribution(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)
}

// Sizes returns an empty distribution of numbers of things, from one to a hundred
// thousand.
func Sizes() *Distribution {
	return NewDistribution(0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
}

// Add counts a value.
func (d *Distribution) Add(v float64) {
	i := 0
	for i < len(d.bounds) && v > d.bounds[i] {
		i++
	}
	d.counts[i].Add(1)
	for {
		old := d.sum.Load()
		if d.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Histogram returns the current counts.
func (d *Distribution) Histogram() Histogram {
	h := Histogram{Bounds: d.bounds, Counts: make([]uint64, len(d.bounds)), Sum: math.Float64frombits(d.sum.Load())}
	for i := range d.counts {
		h.Count += d.counts[i].Load()
		if i < len(d.bounds) {
			h.Counts[i] = h.Count
		}
	}
	return h
}
