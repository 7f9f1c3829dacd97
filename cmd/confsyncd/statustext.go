package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

func (a *app) printStatus(s *status) error {
	if a.output == "json" {
		return a.json(s)
	}
	if len(s.Tenants) == 0 && len(s.Sources) == 0 && len(s.Targets) == 0 {
		return a.printf("no tenant, source or target is known here; give --tenant, or write the configuration file\n")
	}
	var b strings.Builder
	for _, t := range s.Tenants {
		t.text(&b)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.Sources) > 0 {
		fmt.Fprintf(w, "\nSOURCE\tTENANT\tSTATE\n")
		for _, x := range s.Sources {
			fmt.Fprintf(w, "%s\t%s\t%s\n", printable(x.Dir), x.Tenant, x.State)
		}
		_ = w.Flush() // into memory
		for _, x := range s.Sources {
			why(&b, x.Dir, x.Reason, x.Held)
		}
	}
	if len(s.Targets) > 0 {
		fmt.Fprintf(w, "\nTARGET\tTENANT\tSTATE\tGENERATION\tBEHIND\n")
		for _, x := range s.Targets {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", printable(x.Dir), x.Tenant, x.State, x.Generation, x.behind())
		}
		_ = w.Flush() // into memory
		for _, x := range s.Targets {
			why(&b, x.Dir, x.Reason, nil)
		}
	}
	return a.printf("%s", b.String())
}

func (t tenantStatus) text(b *strings.Builder) {
	fmt.Fprintf(b, "tenant     %s\n", t.Tenant)
	if t.Generation == 0 {
		if t.Error != "" {
			fmt.Fprintf(b, "head       unknown\n")
			return
		}
		fmt.Fprintf(b, "head       none: nothing was published yet\n")
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
	fmt.Fprintf(b, "publisher  %s (instance %s)\n", printable(t.Publisher), t.Instance)
	fmt.Fprintf(b, "tenant id  %s, founded at generation %d", t.TenantID, t.Founding)
	if t.Keyframe > 0 {
		fmt.Fprintf(b, ", keyframe at %d", t.Keyframe)
	}
	b.WriteString("\n")
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

// why writes what a source or target waits for.
func why(b *strings.Builder, dir, reason string, held []string) {
	if reason != "" {
		fmt.Fprintf(b, "  %s: %s\n", printable(dir), reason)
	}
	for _, h := range held {
		fmt.Fprintf(b, "    held back: %s\n", h)
	}
}
