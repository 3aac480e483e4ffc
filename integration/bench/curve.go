package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A curve shows how costs grow with one parameter: a drawing of several panels, and a table of points.
type curve struct {
	name   string
	grows  string // the label of every x axis
	sizes  []int
	panels []panel

	// measure adds the points of one size.
	measure func(ctx context.Context, m *machine, size int, add adder) error
	// all adds the points of all sizes, each on top of the one before. One of the two is set.
	all func(ctx context.Context, m *machine, sizes []int, add func(size int) adder) error
}

// An adder adds the cost of one unit of work to a line of a panel.
type adder func(panel, line string, cost float64)

// A panel is one diagram.
type panel struct {
	name  string
	title string
	unit  string // of the y axis
	flat  string // what a constant cost means
}

// A point is a measured cost.
type point struct {
	panel, line string
	size, cost  float64
}

func curves() []curve {
	return []curve{growSockets(), growRooms(), growNodes(), growNamespaces(), growSessions()}
}

// drawCurves measures the curves whose names contain a text, up to a size, and writes each to a directory when it is
// complete.
func (m *machine) drawCurves(ctx context.Context, dir, only string, upTo int) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, c := range curves() {
		if !strings.Contains(c.name, only) {
			continue
		}
		began := time.Now()
		c.sizes = slices.DeleteFunc(c.sizes, func(size int) bool { return size > upTo })
		points, err := c.points(ctx, m)
		if err == nil {
			err = c.table(filepath.Join(dir, c.name+".tsv"), points)
		}
		if err == nil {
			err = c.draw(filepath.Join(dir, c.name+".svg"), points)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("%s: %.0f s\n", c.name, time.Since(began).Seconds())
	}
	return nil
}

func (c *curve) points(ctx context.Context, m *machine) ([]point, error) {
	var points []point
	add := func(size int) adder {
		return func(panel, line string, cost float64) {
			points = append(points, point{panel, line, float64(size), cost})
			fmt.Printf("%s\t%d\t%s\t%s\t%.4g\n", c.name, size, panel, line, cost)
		}
	}
	if c.all != nil {
		return points, c.all(ctx, m, c.sizes, add)
	}
	for _, size := range c.sizes {
		if err := c.measure(ctx, m, size, add(size)); err != nil {
			return nil, fmt.Errorf("%d: %w", size, err)
		}
	}
	return points, nil
}

// table writes the points as tab-separated values.
func (c *curve) table(path string, points []point) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\twhat\tline\tcost\tunit\n", c.grows)
	for _, p := range c.panels {
		for _, at := range points {
			if at.panel == p.name {
				fmt.Fprintf(&b, "%.0f\t%s\t%s\t%.4g\t%s\n", at.size, p.title, at.line, at.cost, p.unit)
			}
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// typical returns the median of several measurements.
func typical(times int, measure func() (float64, error)) (float64, error) {
	var all []float64
	for range times {
		v, err := measure()
		if err != nil {
			return 0, err
		}
		all = append(all, v)
	}
	return median(all), nil
}

// each runs do n times, and returns the processor time and the median time of one, in microseconds.
func each(n int, do func(i int) error) (processor, elapsed float64, err error) {
	var took []float64
	began := processorTime()
	for i := range n {
		at := time.Now()
		if err := do(i); err != nil {
			return 0, 0, err
		}
		took = append(took, micros(time.Since(at)))
	}
	return micros(processorTime()-began) / float64(n), median(took), nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
