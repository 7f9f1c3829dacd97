package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// mostHosts is how many hosts of a tenant status lists.
const mostHosts = 40

func (a *app) printStatus(s *status) error {
	if a.output == "json" {
		return a.json(s)
	}
	return a.printf("%s", s.text())
}

// text is what a person reads.
func (s *status) text() string {
	if len(s.Tenants) == 0 && len(s.Sources) == 0 && len(s.Targets) == 0 {
		return "no tenant, source or target is known here; give --tenant, or write the configuration file\n"
	}
	var b strings.Builder
	if s.Warning != "" {
		fmt.Fprintf(&b, "warning    %s\n", s.Warning)
	}
	for _, t := range s.Tenants {
		t.text(&b)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.Sources) > 0 {
		fmt.Fprintf(w, "\nSOURCE\tTENANT\tSTATE\tSINCE\tPROCESS\n")
		for _, x := range s.Sources {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(x.Dir), x.Tenant, x.State, x.process)
		}
		_ = w.Flush() // into memory
		for _, x := range s.Sources {
			why(&b, x.Dir, x.Reason, "held back", x.Held, len(x.Held))
			why(&b, x.Dir, "", "apart from the head", x.Apart, x.ApartTotal)
		}
	}
	if len(s.Targets) > 0 {
		fmt.Fprintf(w, "\nTARGET\tTENANT\tGENERATION\tBEHIND\tSTATE\tSINCE\tPROCESS\n")
		for _, x := range s.Targets {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(x.Dir), x.Tenant, x.generation(), x.behind(), x.State, x.process)
		}
		_ = w.Flush() // into memory
		for _, x := range s.Targets {
			why(&b, x.Dir, x.Reason, "left behind by the selection", x.left(), len(x.Left))
			why(&b, x.Dir, "", "drifted", x.Drift, x.DriftTotal)
		}
		if slices.ContainsFunc(s.Targets, func(t targetStatus) bool { return t.unread && t.State != "unreadable" }) {
			fmt.Fprintf(&b, "  ?: only root, or whoever runs their agent, can read which generation these targets have\n")
		}
	}
	return b.String()
}

func (t tenantStatus) text(b *strings.Builder) {
	fmt.Fprintf(b, "tenant     %s\n", t.Tenant)
	t.headText(b)
	switch {
	case t.HostsError != "":
		fmt.Fprintf(b, "hosts      unknown: %s\n", t.HostsError)
	case len(t.Hosts) > 0:
		fmt.Fprintf(b, "hosts      %s\n\n", t.HostTotals)
		hostTable(b, t.Hosts, mostHosts)
	}
}

func (t tenantStatus) headText(b *strings.Builder) {
	if t.Generation == 0 {
		if t.Error != "" {
			fmt.Fprintf(b, "head       unknown\n")
			return
		}
		if t.Deleted != nil {
			fmt.Fprintf(b, "head       none: the tenant was %s; hosts keep their files\n", printable(t.Deleted.String()))
			return
		}
		fmt.Fprintf(b, "head       none: nothing was published yet; if it was, see that --tenant and --prefix are right\n")
		return
	}
	fmt.Fprintf(b, "head       generation %d", t.Generation)
	if t.Time != nil {
		fmt.Fprintf(b, ", %s ago (%s)", ageText(time.Since(*t.Time)), t.Time.Local().Format(time.DateTime))
	}
	fmt.Fprintf(b, ", commit %.12s\n", t.Commit)
	if t.Message != "" {
		fmt.Fprintf(b, "message    %s\n", printable(t.Message))
	}
	back := ""
	if t.Rollback > 0 {
		back = fmt.Sprintf("rolled back to generation %d", t.Rollback)
	}
	fmt.Fprintf(b, "publisher  %s (instance %s)%s%s\n", printable(t.Publisher), t.Instance, comma(back), comma(t.PublisherState))
	fmt.Fprintf(b, "tenant id  %s, founded at generation %d", t.TenantID, t.Founding)
	if t.Keyframe > 0 {
		fmt.Fprintf(b, ", keyframe at %d", t.Keyframe)
	}
	b.WriteString("\n")
	if len(t.Channels) > 1 || len(t.Channels) == 1 && (t.Channels[0].Generation != t.Generation || t.Channels[0].Ahead > 0) {
		fmt.Fprintf(b, "channels   %s\n", channelsText(t.Channels))
	}
}

// comma puts one before a word, if there is one.
func comma(word string) string {
	if word == "" {
		return ""
	}
	return ", " + word
}

// channelsText writes where channels are.
func channelsText(channels []channelState) string {
	words := make([]string, len(channels))
	for i, c := range channels {
		words[i] = fmt.Sprintf("%s %d", printable(c.Channel), c.Generation)
		if c.Ahead > 0 {
			words[i] += fmt.Sprintf(" (some hosts: %d)", c.Ahead)
		}
	}
	return strings.Join(words, ", ")
}

// generation writes which one a target is at, and whose files it has if they are another's.
func (t targetStatus) generation() string {
	switch {
	case t.unread:
		return "?"
	case t.Reverted > 0:
		return fmt.Sprintf("%d (files of %d)", t.Generation, t.Reverted)
	}
	return fmt.Sprint(t.Generation)
}

// behind writes how far behind the head a target is.
func (t targetStatus) behind() string {
	switch {
	case t.Behind == nil:
		return "?"
	case *t.Behind == 0:
		return "-"
	}
	return fmt.Sprint(*t.Behind)
}

// left returns the paths that the selection has left behind, as they print.
func (t targetStatus) left() []string {
	words := make([]string, len(t.Left))
	for i, path := range t.Left {
		words[i] = printable(path)
	}
	return words
}

// String writes the columns SINCE and PROCESS.
func (p process) String() string {
	switch {
	case p.Since == nil:
		return "-\t-"
	case p.Running:
		return fmt.Sprintf("%s\tpid %d", ageText(time.Since(*p.Since)), p.PID)
	}
	return ageText(time.Since(*p.Since)) + "\tended"
}

// why writes what a source or target waits for, and which paths, of so many, it leaves
// out.
func why(b *strings.Builder, dir, reason, apart string, paths []string, total int) {
	if reason != "" {
		fmt.Fprintf(b, "  %s: %s\n", printable(dir), reason)
	}
	const most = 10
	for _, p := range paths[:min(len(paths), most)] {
		fmt.Fprintf(b, "  %s: %s: %s\n", printable(dir), apart, p)
	}
	if more := total - min(len(paths), most); more > 0 {
		fmt.Fprintf(b, "  %s: %s: and %d more\n", printable(dir), apart, more)
	}
}
