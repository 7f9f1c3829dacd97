package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/tenant"
)

// tenantDeleted is what tenant delete prints with -o json, and prune for each.
type tenantDeleted struct {
	tenantFacts
	DryRun bool `json:"dry_run"`
	// Gone is how many keys this command deleted.
	Gone int64 `json:"gone"`
}

// errUnsaid says that nobody has confirmed what cannot be taken back.
var errUnsaid = errors.New("not confirmed")

func (a *app) tenantDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a tenant and its history from etcd; hosts keep their files",
		Long: `Delete takes a tenant out of etcd: head, history, contents and hosts' reports. Its
publishers stop, and say so; its agents keep their files, and say so. That cannot be
taken back: without --yes it asks for the tenant's name. If it is interrupted, the
tenant is "deleting", and delete goes on.`,
		Args: arguments("NAME"),
	}
	dryRun := cmd.Flags().BoolP("dry-run", "n", false, "say what would go")
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.onTenant(cmd.Context(), args[0], func(ctx context.Context, _ *config.Config, etcd *store.Client) error {
			t, err := tenant.Show(ctx, etcd, args[0])
			if err != nil {
				return err
			}
			f := usedBy(ctx, etcd, t)
			if *dryRun || f.State == "deleted" {
				return a.printDeleted(tenantDeleted{tenantFacts: f, DryRun: *dryRun})
			}
			if !*yes {
				if err := a.confirm(f); err != nil {
					return err
				}
			}
			return a.deleteTenant(ctx, etcd, f)
		})
	}
	return cmd
}

// confirm asks a person for the name of the tenant that is to go. Else nobody can be
// asked, and it is refused.
func (a *app) confirm(f tenantFacts) error {
	if !terminal(a.err) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return fmt.Errorf("%w: %s; give --yes if that is meant", errUnsaid, f.goes("would go"))
	}
	fmt.Fprintf(a.err, "%s. That cannot be taken back. Write the tenant's name to go on: ", f.goes("will go"))
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // what cannot be read is not the name
	if strings.TrimSpace(line) != f.Tenant {
		return fmt.Errorf("%w: nothing was deleted", errUnsaid)
	}
	return nil
}

// goes says what is deleted with the tenant.
func (f tenantFacts) goes(how string) string {
	what := fmt.Sprintf("tenant %s %s: %d keys", f.Tenant, how, f.Keys)
	if f.Files != nil && f.Generation > 0 {
		what += fmt.Sprintf(", with generation %d of %d files, %s", f.Generation, *f.Files, bytesText(*f.Bytes))
	}
	if f.Hosts > 0 {
		what += fmt.Sprintf(", hosts that follow it: %d", f.Hosts)
	}
	return what
}

// deleteTenant deletes a tenant and prints what went.
func (a *app) deleteTenant(ctx context.Context, etcd *store.Client, f tenantFacts) error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	bar := a.progress()
	gone, tomb, err := tenant.Delete(ctx, etcd, f.Tenant, tenant.Deletion{
		Who:      operator() + "@" + host,
		Progress: func(done, total int64) { bar.count("deleting", int(done), int(total)) },
	})
	bar.end()
	if err != nil && !errors.Is(err, tenant.ErrNone) { // else another has just done it
		return fmt.Errorf("tenant %s: %w", f.Tenant, err)
	}
	f.State, f.Keys, f.Tombstones = "deleted", 0, append(f.Tombstones[:0:0], tomb)
	return a.printDeleted(tenantDeleted{tenantFacts: f, Gone: gone})
}

func (a *app) printDeleted(d tenantDeleted) error {
	switch {
	case a.output == "json":
		return a.json(d)
	case d.State == "deleted" && d.Gone == 0:
		return a.printf("%s: was %s; nothing is left\n", d.Tenant, printable(d.Tombstones[len(d.Tombstones)-1].String()))
	case d.DryRun:
		return a.printf("%s\n", d.goes("would go"))
	}
	return a.printf("%s: deleted, %d keys; hosts keep their files\n", d.Tenant, d.Gone)
}

func (a *app) tenantPruneCommand() *cobra.Command {
	var selector tenant.Selector
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete the tenants whose time to live is over",
		Long: `Prune lists the tenants whose --ttl is over, and those whose deletion was interrupted;
with --yes it deletes them, as "tenant delete" does. A tenant is never deleted by
itself.`,
		Args: arguments(),
	}
	cmd.Flags().VarP(into(&selector, "selector", tenant.ParseSelector), "selector", "l", "of those whose labels are such, as env=test")
	yes := cmd.Flags().Bool("yes", false, "delete them")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.onTenants(cmd.Context(), func(ctx context.Context, _ *config.Config, etcd *store.Client) error {
			all, err := tenant.List(ctx, etcd, selector, config.TenantName)
			if err != nil {
				return err
			}
			over := slices.DeleteFunc(all, func(t tenant.Tenant) bool { return !t.Expired(time.Now()) && t.State() != "deleting" })
			if len(over) == 0 && a.output != "json" {
				return a.printf("no tenant has expired\n")
			}
			return each(over, func(t tenant.Tenant) error {
				if !*yes {
					return a.printDeleted(tenantDeleted{tenantFacts: usedBy(ctx, etcd, t), DryRun: true})
				}
				return a.deleteTenant(ctx, etcd, tenantFactsOf(t))
			})
		})
	}
	return cmd
}

// deletionOf returns the tombstone of a tenant without a head, nil if it was not deleted, or
// that may not be read.
func deletionOf(ctx context.Context, s *store.Store) (*codec.Tombstone, error) {
	r, err := s.Registration(ctx)
	if errors.Is(err, store.ErrRefused) {
		return nil, nil
	}
	return r.Deleted(), err
}
