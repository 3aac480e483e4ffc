package stats_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/pgsocket/socketio/stats"
)

func TestHistogram_Bounds(t *testing.T) {
	t.Parallel()
	d := stats.NewDistribution(1, 10, 100)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, v := range []float64{0, 1, 1.5, 10, 99, 100, 101} {
				d.Add(v)
			}
		})
	}
	all.Wait()
	h := d.Histogram()
	if !slices.Equal(h.Counts, []uint64{16, 32, 48}) || h.Count != 56 || h.Sum != 8*312.5 {
		t.Errorf("%+v", h)
	}
}
