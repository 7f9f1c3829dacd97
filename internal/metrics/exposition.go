package metrics

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// contentType is that of the text format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// kind is what Prometheus calls a metric's type.
type kind string

const (
	gauge     kind = "gauge"
	counter   kind = "counter"
	histogram kind = "histogram"
)

// label is one name and value of a sample.
type label struct{ name, value string }

// page is a text in the making.
type page struct {
	text   bytes.Buffer
	family family
	headed bool // the family's head is written
}

// begin begins a family. Without samples nothing of it is written.
func (p *page) begin(f family) { p.family, p.headed = f, false }

// add writes a sample of the family.
func (p *page) add(value float64, labels ...label) { p.sample("", value, labels) }

// addHistogram writes the samples of a histogram.
func (p *page) addHistogram(h *durations, labels ...label) {
	all := uint64(0)
	for i, n := range h.counts {
		all += n
		p.sample("_bucket", float64(all), append(labels[:len(labels):len(labels)], label{"le", number(bound(i))}))
	}
	p.sample("_sum", h.sum, labels)
	p.sample("_count", float64(all), labels)
}

func (p *page) sample(suffix string, value float64, labels []label) {
	if !p.headed {
		p.headed = true
		p.text.WriteString("# HELP " + p.family.name + " " + escaped(p.family.help, `\`, "\n") + "\n")
		p.text.WriteString("# TYPE " + p.family.name + " " + string(p.family.kind) + "\n")
	}
	p.text.WriteString(p.family.name + suffix)
	for i, l := range labels {
		p.text.WriteByte("{,"[min(i, 1)])
		p.text.WriteString(l.name + `="` + escaped(l.value, `\`, "\n", `"`) + `"`)
	}
	if len(labels) > 0 {
		p.text.WriteByte('}')
	}
	p.text.WriteString(" " + number(value) + "\n")
}

// number writes a value as the format wants it, which is Go's way, infinities included.
func number(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }

// escaped writes a backslash before each of the given characters.
func escaped(s string, special ...string) string {
	pairs := make([]string, 0, 2*len(special))
	for _, c := range special {
		with := `\` + c
		if c == "\n" {
			with = `\n`
		}
		pairs = append(pairs, c, with)
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// text returns a path as a label's value, which must be UTF-8: if it is not, with escapes,
// so that no two paths become one.
func text(path string) string {
	if utf8.ValidString(path) {
		return path
	}
	return strings.Trim(strconv.Quote(path), `"`)
}
