package main

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colors are readable on white and on black.
func ink() color.Color { return color.RGBA{0x7d, 0x85, 0x90, 0xff} }

func colors() []color.Color {
	return []color.Color{
		color.RGBA{0x2f, 0x81, 0xf7, 0xff},
		color.RGBA{0xdb, 0x6d, 0x28, 0xff},
		color.RGBA{0x2e, 0xa0, 0x43, 0xff},
		color.RGBA{0xa3, 0x71, 0xf7, 0xff},
	}
}

// draw writes the panels, two in a row, as SVG.
func (c *curve) draw(path string, points []point) error {
	const columns, width, height = 2, 4.4 * vg.Inch, 2.9 * vg.Inch
	rows := (len(c.panels) + columns - 1) / columns
	plots := make([][]*plot.Plot, rows)
	for i := range plots {
		plots[i] = make([]*plot.Plot, columns)
	}
	for i, p := range c.panels {
		drawn, err := c.drawPanel(p, points)
		if err != nil {
			return err
		}
		plots[i/columns][i%columns] = drawn
	}
	canvas := vgsvg.New(columns*width, vg.Length(rows)*height)
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Millimeter * 4, PadY: vg.Millimeter * 4}
	areas := plot.Align(plots, tiles, draw.New(canvas))
	for i := range c.panels {
		plots[i/columns][i%columns].Draw(areas[i/columns][i%columns])
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Viewers without the font have one with the same widths.
	text := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	return os.WriteFile(path, text, 0o600)
}

func (c *curve) drawPanel(p panel, points []point) (*plot.Plot, error) {
	d := plot.New()
	d.BackgroundColor = nil // transparent
	d.Title.Text, d.X.Label.Text, d.Y.Label.Text = p.title, c.grows, p.unit
	d.Title.TextStyle.Color, d.Title.Padding = ink(), vg.Points(4)
	d.X.Scale, d.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(powers)
	d.X.Min, d.X.Max, d.Y.Min = float64(c.sizes[0]), float64(max(c.sizes[len(c.sizes)-1], 2*c.sizes[0])), 0
	d.Legend.Top, d.Legend.Padding, d.Legend.TextStyle.Color = true, vg.Points(2), ink()
	for _, axis := range []*plot.Axis{&d.X, &d.Y} {
		axis.Color, axis.Tick.Color, axis.Label.TextStyle.Color, axis.Tick.Label.Color = ink(), ink(), ink(), ink()
		axis.Padding = 0
	}
	for _, f := range []*font.Font{&d.Title.TextStyle.Font, &d.X.Label.TextStyle.Font, &d.Y.Label.TextStyle.Font, &d.X.Tick.Label.Font, &d.Y.Tick.Label.Font, &d.Legend.TextStyle.Font} {
		f.Variant, f.Size = "Sans", 9
	}
	d.Add(plotter.NewGrid())
	names, highest := linesOf(p, points), 0.0
	for i, name := range names {
		var line plotter.XYs
		for _, at := range points {
			if at.panel == p.name && at.line == name {
				line = append(line, plotter.XY{X: at.size, Y: at.cost})
				highest = math.Max(highest, at.cost)
			}
		}
		l, dots, err := plotter.NewLinePoints(line)
		if err != nil {
			return nil, err
		}
		l.Color, l.Width = colors()[i%len(colors())], vg.Points(1.8)
		dots.Color, dots.Shape = l.Color, draw.CircleGlyph{}
		flat, err := plotter.NewLine(plotter.XYs{{X: line[0].X, Y: line[0].Y}, {X: d.X.Max, Y: line[0].Y}})
		if err != nil {
			return nil, err
		}
		flat.Color, flat.Dashes = ink(), []vg.Length{vg.Points(4), vg.Points(3)}
		d.Add(flat, l, dots)
		d.Legend.Add(name, l, dots)
		if i == 0 {
			d.Legend.Add(p.flat, flat)
		}
	}
	d.Y.Max = highest / (1 - 0.09*float64(len(names)+1)) // room for the legend above the lines
	return d, nil
}

// linesOf returns the names of the lines of a panel in the order of measurement.
func linesOf(p panel, points []point) []string {
	var names []string
	for _, at := range points {
		if at.panel == p.name && !slices.Contains(names, at.line) {
			names = append(names, at.line)
		}
	}
	return names
}

// powers returns ticks at 1, 10, 100 and so on.
func powers(from, to float64) []plot.Tick {
	var ticks []plot.Tick
	for power := 1.0; power <= to; power *= 10 {
		for digit := 1.0; digit < 10; digit++ {
			t := plot.Tick{Value: digit * power}
			if digit == 1 || to/from < 20 && (digit == 2 || digit == 4 || digit == 8) {
				t.Label = short(t.Value)
			}
			if t.Value >= from && t.Value <= to {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}

func short(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v/1000, 'g', -1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
