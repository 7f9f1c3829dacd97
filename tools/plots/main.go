// Command plots draws what "make bench" measured: plots FILE DIR writes a DIR/NAME.svg for
// each plot that the JSON in FILE describes.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// picture is a plot as internal/bench writes it.
type picture struct {
	Name, Title, X, Y string
	LogX, LogY        bool
	IsDistribution    bool
	Points            []struct {
		Line string
		X, Y float64
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plots FILE DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "plots:", err)
		os.Exit(1)
	}
}

func run(file, dir string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var all []picture
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	for _, p := range all {
		if err := p.draw(filepath.Join(dir, p.Name+".svg")); err != nil {
			return fmt.Errorf("draw %s: %w", p.Name, err)
		}
	}
	return nil
}

func (p picture) draw(name string) error {
	out := plot.New()
	out.Title.Text, out.X.Label.Text, out.Y.Label.Text = p.Title, p.X, p.Y
	if p.LogX {
		out.X.Scale, out.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if p.LogY {
		out.Y.Scale, out.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	} else {
		out.Y.Min = 0
	}
	out.Add(plotter.NewGrid())
	out.Legend.Top, out.Legend.Left, out.Legend.Padding = true, true, vg.Millimeter
	if p.IsDistribution {
		out.Legend.Top, out.Legend.Left = false, false
	}
	var order []string
	lines := make(map[string]plotter.XYs)
	for _, at := range p.Points {
		if p.LogX && at.X <= 0 || p.LogY && at.Y <= 0 {
			continue
		}
		if !slices.Contains(order, at.Line) {
			order = append(order, at.Line)
		}
		lines[at.Line] = append(lines[at.Line], plotter.XY{X: at.X, Y: at.Y})
	}
	for i, title := range order {
		line, marks, err := plotter.NewLinePoints(lines[title])
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = plotutil.Color(i), vg.Points(1.5), plotutil.Dashes(i/len(plotutil.DefaultColors))
		marks.Color, marks.Shape = plotutil.Color(i), plotutil.Shape(i)
		if p.IsDistribution {
			out.Add(line)
			out.Legend.Add(title, line)
			continue
		}
		out.Add(line, marks)
		out.Legend.Add(title, line, marks)
	}
	// A single value makes an axis that begins below 0.
	if p.LogX && out.X.Min <= 0 {
		out.X.Min = out.X.Max / 10
	}
	if p.LogY && out.Y.Min <= 0 {
		out.Y.Min = out.Y.Max / 10
	}
	return out.Save(18*vg.Centimeter, 11*vg.Centimeter, name)
}
