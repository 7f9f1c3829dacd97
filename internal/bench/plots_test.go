//go:build bench

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Plot is a picture of points that figures measured.
type Plot struct {
	Name, Title    string
	X, Y           string // what the axes say
	LogX, LogY     bool
	Points         []Point `json:",omitempty"`
	IsDistribution bool    // lines without marks
}

// plots are all that may be drawn; those without points are not.
func plots() []Plot {
	return []Plot{
		{Name: "edit", Title: "Edit → visible, 200 files", X: "milliseconds", Y: "percent of edits that are visible", LogX: true, IsDistribution: true},
		{Name: "peers", Title: "Edit → visible, 200 files, beside others", X: "milliseconds", Y: "percent of edits that are visible", LogX: true, IsDistribution: true},
		{Name: "tree-time", Title: "Growth with the tree: time", X: "files of 2 KB in the tree", Y: "milliseconds", LogX: true, LogY: true},
		{Name: "tree-memory", Title: "Growth with the tree: memory", X: "files of 2 KB in the tree", Y: "MB resident", LogX: true},
		{Name: "tree-bytes", Title: "Growth with the tree: bytes in etcd", X: "files of 2 KB in the tree", Y: "bytes", LogX: true, LogY: true},
		{Name: "change-time", Title: "Growth with the change, in a tree of 10,000 files: time", X: "files changed at once", Y: "milliseconds", LogX: true, LogY: true},
		{Name: "change-bytes", Title: "Growth with the change, in a tree of 10,000 files: bytes in etcd", X: "files changed at once", Y: "bytes", LogX: true, LogY: true},
		{Name: "size-time", Title: "Growth with the file, one line edited: time", X: "bytes of the file", Y: "milliseconds", LogX: true, LogY: true},
		{Name: "size-bytes", Title: "Growth with the file, one line edited: bytes in etcd", X: "bytes of the file", Y: "bytes", LogX: true, LogY: true},
		{Name: "size-memory", Title: "Growth with the file: most memory", X: "bytes of the file", Y: "MB resident", LogX: true},
		{Name: "agents-time", Title: "Growth with the fleet: edit → in place", X: "agents", Y: "milliseconds", LogX: true, LogY: true},
		{Name: "agents-memory", Title: "Growth with the fleet: memory of an agent in a shared process", X: "agents", Y: "MB", LogX: true},
		{Name: "history-bytes", Title: "Growth with the history, in a tree of 10,000 files: bytes in etcd", X: "generations", Y: "bytes"},
	}
}

// drawn shows the plots of which there are points.
func drawn(b *bytes.Buffer, all map[string]*Result) {
	points := pointsOf(all)
	for _, p := range plots() {
		if len(points[p.Name]) > 0 {
			fmt.Fprintf(b, "![%s](benchmarks/%s.svg)\n\n", p.Title, p.Name)
		}
	}
}

func pointsOf(all map[string]*Result) map[string][]Point {
	found := make(map[string][]Point)
	for _, f := range figures() {
		if r := all[f.Name]; r != nil {
			for _, p := range r.Points {
				found[p.Plot] = append(found[p.Plot], p)
			}
		}
	}
	return found
}

// writePlots writes what is to be drawn.
func writePlots(name string, all map[string]*Result) error {
	points := pointsOf(all)
	var list []Plot
	for _, p := range plots() {
		if p.Points = points[p.Name]; len(p.Points) > 0 {
			list = append(list, p)
		}
	}
	out, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, out, 0o644)
}
