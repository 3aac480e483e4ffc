package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCurves_EveryPanelIsDrawn draws each curve, with all sizes and with one, and looks for its labels, lines and
// points.
func TestCurves_EveryPanelIsDrawn(t *testing.T) {
	t.Parallel()
	for _, c := range curves() {
		for _, sizes := range [][]int{c.sizes, c.sizes[:1]} {
			var points []point
			for i, size := range sizes {
				for _, p := range c.panels {
					points = append(points, point{p.name, "a line", float64(size), float64(i) + 0.5})
				}
			}
			c.sizes = sizes
			path := filepath.Join(t.TempDir(), c.name)
			if err := c.draw(path, points); err != nil {
				t.Fatal(err)
			}
			if err := c.table(path+".tsv", points); err != nil {
				t.Fatal(err)
			}
			svg, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			table, err := os.ReadFile(path + ".tsv")
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range c.panels {
				for _, text := range []string{p.title, p.unit, p.flat, c.grows, "a line"} {
					if !strings.Contains(string(svg), text) {
						t.Errorf("%s: the drawing of %v does not say %q", c.name, sizes, text)
					}
				}
				if n := strings.Count(string(table), "\t"+p.title+"\t"); n != len(sizes) {
					t.Errorf("%s: the table has %d points of %q, not %d", c.name, n, p.title, len(sizes))
				}
			}
		}
	}
}
