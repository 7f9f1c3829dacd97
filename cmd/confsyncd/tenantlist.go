package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/tenant"
)

// tenantFacts is what tenant create, set and show print with -o json, and list for each.
type tenantFacts struct {
	Tenant     string            `json:"tenant"`
	TenantID   string            `json:"tenant_id,omitempty"`
	State      string            `json:"state"`
	Generation uint64            `json:"generation"` // 0: no commit
	Publisher  string            `json:"publisher,omitempty"`
	Labels     map[string]string `json:"labels"`
	Created    *time.Time        `json:"created,omitempty"`
	Expires    *time.Time        `json:"expires,omitempty"`
	Expired    bool              `json:"expired"`
	QuotaBytes int64             `json:"quota_bytes"` // 0: no limit
	QuotaFiles int64             `json:"quota_files"` // 0: no limit
	// Files and Bytes are what the quotas count; of show alone.
	Files *int64 `json:"files,omitempty"`
	Bytes *int64 `json:"bytes,omitempty"`
	Keys  int64  `json:"keys"` // in etcd
	Hosts int64  `json:"hosts"`
	// Tombstones are of the tenants of this name that were deleted, the newest last.
	Tombstones []codec.Tombstone `json:"tombstones"`
	Error      string            `json:"error,omitempty"`
}

func tenantFactsOf(t tenant.Tenant) tenantFacts {
	r := t.Registration
	f := tenantFacts{
		Tenant: t.Name, State: t.State(), Labels: map[string]string{}, Expired: t.Expired(time.Now()), Keys: t.Keys, Hosts: t.Hosts,
		QuotaBytes: r.QuotaBytes, QuotaFiles: r.QuotaFiles, Tombstones: append([]codec.Tombstone{}, r.Tombstones...),
	}
	maps.Copy(f.Labels, r.Labels)
	if id := t.ID(); !id.IsZero() {
		f.TenantID = id.String()
	}
	if !r.Created.IsZero() {
		f.Created = &r.Created
	}
	if !r.Expires.IsZero() {
		f.Expires = &r.Expires
	}
	if t.View.Head != nil {
		f.Generation, f.Publisher = t.View.Head.Position.Generation, t.View.Head.Publisher
	}
	if t.View.Err != nil {
		f.Error = t.View.Err.Error()
	}
	return f
}

func (a *app) tenantListCommand() *cobra.Command {
	var selector tenant.Selector
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tenants",
		Long: `List shows all tenants below the prefix, whether they were created or only
published to, with state, generation, labels and time to live. A selector has
conditions that must all hold: env=prod,owner!=team-a,tier,!scratch. Deleted ones are
listed while keys of them are left, and with --deleted for good.`,
		Args: arguments(),
	}
	cmd.Flags().VarP(into(&selector, "selector", tenant.ParseSelector), "selector", "l", "list those whose labels are such, as env=prod,!scratch")
	deleted := cmd.Flags().Bool("deleted", false, "list deleted ones too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.onTenants(cmd.Context(), func(ctx context.Context, _ *config.Config, etcd *store.Client) error {
			all, err := tenant.List(ctx, etcd, selector, config.TenantName)
			if err != nil {
				return err
			}
			list := []tenantFacts{}
			for _, t := range all {
				if f := tenantFactsOf(t); *deleted || f.State != "deleted" {
					list = append(list, f)
				}
			}
			return a.printTenants(list)
		})
	}
	return cmd
}

func (a *app) printTenants(list []tenantFacts) error {
	if a.output == "json" {
		return a.json(struct {
			Tenants []tenantFacts `json:"tenants"`
		}{list})
	}
	if len(list) == 0 {
		return a.printf("no tenant\n")
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "TENANT\tSTATE\tGENERATION\tHOSTS\tEXPIRES\tLABELS\n")
	for _, f := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", f.Tenant, f.State, f.Generation, f.Hosts, f.expires(), f.labels())
	}
	_ = w.Flush() // into memory
	return a.printf("%s", b.String())
}

func (f tenantFacts) expires() string {
	switch {
	case f.Expires == nil || f.State == "deleted" || f.State == "deleting":
		return "-"
	case f.Expired:
		return "expired"
	}
	return "in " + ageText(time.Until(*f.Expires))
}

func (f tenantFacts) labels() string {
	words := make([]string, 0, len(f.Labels))
	for _, key := range slices.Sorted(maps.Keys(f.Labels)) {
		words = append(words, printable(key+"="+f.Labels[key]))
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}

func (a *app) tenantShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show what is said of a tenant, and what of its quotas it uses",
		Args:  arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onTenant(cmd.Context(), args[0], func(ctx context.Context, _ *config.Config, etcd *store.Client) error {
				t, err := tenant.Show(ctx, etcd, args[0])
				if err != nil {
					return err
				}
				return a.printTenant(usedBy(ctx, etcd, t))
			})
		},
	}
}

// usedBy returns the facts with what the tenant uses, as far as that can be told.
func usedBy(ctx context.Context, etcd *store.Client, t tenant.Tenant) tenantFacts {
	f := tenantFactsOf(t)
	files, bytes, err := tenant.Usage(ctx, etcd, t)
	if err == nil {
		f.Files, f.Bytes = &files, &bytes
	} else if !errors.Is(err, context.Canceled) {
		f.Error = err.Error()
	}
	return f
}

func (a *app) printTenant(f tenantFacts) error {
	if a.output == "json" {
		return a.json(f)
	}
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("tenant", "%s", f.Tenant)
	line("state", "%s", f.State)
	if f.TenantID != "" {
		line("tenant id", "%s", f.TenantID)
	}
	if f.Generation > 0 {
		line("head", "generation %d, published by %s", f.Generation, printable(f.Publisher))
	}
	line("labels", "%s", f.labels())
	if f.Created != nil {
		line("created", "%s", f.Created.Local().Format(time.DateTime))
	}
	if f.Expires != nil {
		line("expires", "%s (%s)", f.Expires.Local().Format(time.DateTime), f.expires())
	}
	if f.Files != nil || f.QuotaFiles > 0 {
		line("files", "%s", used(f.Files, f.QuotaFiles, func(n int64) string { return fmt.Sprint(n) }))
	}
	if f.Bytes != nil || f.QuotaBytes > 0 {
		line("contents", "%s", used(f.Bytes, f.QuotaBytes, bytesText))
	}
	line("in etcd", "%d keys, %d hosts report", f.Keys, f.Hosts)
	for _, t := range f.Tombstones {
		left := ""
		if t.Cleared.IsZero() {
			left = fmt.Sprintf("; keys are left: \"confsyncd tenant delete %s\" goes on", f.Tenant)
		}
		line("deleted", "generation %d of %v was %s%s", t.Generation, t.ID, printable(t.String()), left)
	}
	if f.Error != "" {
		line("error", "%s", f.Error)
	}
	return a.printf("%s", b.String())
}

// used writes how much of a quota is used.
func used(n *int64, quota int64, text func(int64) string) string {
	is := "?"
	if n != nil {
		is = text(*n)
	}
	if quota == 0 {
		return is
	}
	return fmt.Sprintf("%s of %s", is, text(quota))
}
