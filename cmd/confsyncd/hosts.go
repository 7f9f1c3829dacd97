package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/fleet"
)

// What a host can be, besides what fleet.Life says.
const (
	hostCurrent = "current" // it has all that it is to have, and is well
	hostBehind  = "behind"  // it may yet come to it
	hostFailed  = "failed"  // it refuses it, or is not well with it
)

// hostFacts are what -o json tells of a host.
type hostFacts struct {
	Tenant string `json:"tenant"`
	Host   string `json:"host"` // its id
	// Life is "up", "down" or "duplicate".
	Life  string `json:"life"`
	State string `json:"state"`
	// Reason says why the host does not count as having what it is to have.
	Reason     string             `json:"reason,omitempty"`
	Generation uint64             `json:"generation"` // the oldest that a target has applied; 0: none
	Behind     uint64             `json:"behind"`     // generations, of the target that is most
	Labels     map[string]string  `json:"labels"`
	Name       string             `json:"name,omitempty"` // of the machine
	Version    string             `json:"version,omitempty"`
	Time       *time.Time         `json:"time,omitempty"` // of the report
	Targets    []codec.HostTarget `json:"targets"`
}

// hostTotals count a tenant's hosts.
type hostTotals struct {
	Hosts     int `json:"hosts"`
	Up        int `json:"up"`
	Down      int `json:"down"`
	Duplicate int `json:"duplicate"`
	Current   int `json:"current"`
	Behind    int `json:"behind"`
	Failed    int `json:"failed"`
}

// hostsOf returns what is known of a tenant's hosts, the one that is furthest behind first.
func hostsOf(tenant string, f fleet.Fleet) []hostFacts {
	list := make([]hostFacts, len(f.Hosts))
	for i, h := range f.Hosts {
		list[i] = hostFactsOf(tenant, f, h)
	}
	worst := func(h hostFacts) int { return slices.Index([]string{hostFailed, hostBehind, hostCurrent}, h.State) }
	slices.SortStableFunc(list, func(x, y hostFacts) int {
		return cmp.Or(cmp.Compare(y.Behind, x.Behind), cmp.Compare(worst(x), worst(y)))
	})
	return list
}

func hostFactsOf(tenant string, f fleet.Fleet, h fleet.Host) hostFacts {
	r := h.Report
	facts := hostFacts{
		Tenant: tenant, Host: h.ID, Life: string(h.Life), Labels: r.Labels, Name: r.Name, Version: r.Version,
		Targets: append([]codec.HostTarget{}, r.Targets...),
	}
	if facts.Labels == nil {
		facts.Labels = map[string]string{}
	}
	if !r.Time.IsZero() {
		facts.Time = &r.Time
	}
	want := func(codec.HostTarget) uint64 { return 0 }
	if f.View.Head != nil {
		want = fleet.Current(f.View.Head.Head, h)
	}
	for i, t := range r.Targets {
		if i == 0 || t.Applied < facts.Generation {
			facts.Generation = t.Applied
		}
		if to := want(t); to > t.Applied {
			facts.Behind = max(facts.Behind, to-t.Applied)
		}
	}
	facts.State, facts.Reason = judged(h, want)
	return facts
}

// judged tells how a host stands to what is wanted of its targets, and why if it does not
// count as having it.
func judged(h fleet.Host, want fleet.Wanted) (state, reason string) {
	verdict, reason := h.Judge(want)
	switch {
	case verdict == fleet.Failed:
		return hostFailed, reason
	case verdict == fleet.Pending:
		return hostBehind, reason
	case len(h.Report.Targets) == 0:
		return hostBehind, "none of its targets has said anything yet"
	}
	return hostCurrent, ""
}

func totalsOf(list []hostFacts) (n hostTotals) {
	n.Hosts = len(list)
	for _, h := range list {
		switch fleet.Life(h.Life) {
		case fleet.Up:
			n.Up++
		case fleet.Down:
			n.Down++
		case fleet.Duplicate:
			n.Duplicate++
		}
		switch h.State {
		case hostCurrent:
			n.Current++
		case hostFailed:
			n.Failed++
		default:
			n.Behind++
		}
	}
	return n
}

// String says it in a line; what there is none of is left out.
func (n hostTotals) String() string {
	words := []string{fmt.Sprintf("%d up", n.Up)}
	if n.Down > 0 {
		words = append(words, fmt.Sprintf("%d down", n.Down))
	}
	if n.Duplicate > 0 {
		words = append(words, fmt.Sprintf("%d duplicate", n.Duplicate))
	}
	words = append(words, fmt.Sprintf("%d current", n.Current))
	if n.Behind > 0 {
		words = append(words, fmt.Sprintf("%d behind", n.Behind))
	}
	if n.Failed > 0 {
		words = append(words, fmt.Sprintf("%d failed", n.Failed))
	}
	return fmt.Sprintf("%d, %s", n.Hosts, strings.Join(words, ", "))
}

// hostTable writes hosts as a table, at most so many of them, with the reasons below it; 0 is
// all.
func hostTable(b *strings.Builder, list []hostFacts, most int) {
	shown := list
	if most > 0 && len(list) > most {
		shown = list[:most]
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "HOST\tLIFE\tSTATE\tGENERATION\tBEHIND\tLABELS\tREPORTED\n")
	for _, h := range shown {
		behind, reported := "-", "-"
		if h.Behind > 0 {
			behind = fmt.Sprint(h.Behind)
		}
		if h.Time != nil {
			reported = ageText(max(0, time.Since(*h.Time))) + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", printable(h.Host), h.Life, h.State, h.Generation, behind, labelText(h.Labels), reported)
	}
	_ = w.Flush() // into memory
	for _, h := range shown {
		if h.Reason != "" && h.Reason != h.Life {
			fmt.Fprintf(b, "  %s: %s\n", printable(h.Host), said(h.Reason))
		}
	}
	if more := len(list) - len(shown); more > 0 {
		fmt.Fprintf(b, "  and %d more: \"confsyncd host list\" shows all\n", more)
	}
}

// said writes what a host says in words so that it does nothing else to a terminal.
func said(words string) string {
	return strings.ReplaceAll(visible(words), "\n", " ")
}

// labelText writes labels as --label takes them.
func labelText(labels map[string]string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, printable(key+"="+labels[key]))
	}
	return cmp.Or(strings.Join(words, ","), "-")
}

// parseLabel reads a label of the command line.
func parseLabel(s string) (string, error) {
	if key, _, ok := strings.Cut(s, "="); !ok || key == "" {
		return "", fmt.Errorf("%q is no label; write key=value, such as role=web", s)
	}
	return s, nil
}
