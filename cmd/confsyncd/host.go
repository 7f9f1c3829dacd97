package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/store"
)

func (a *app) hostCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Show the hosts of a tenant, and forget those that are gone",
		Long: `Each agent says in etcd what its targets are at, and gives a sign of life. A host
without one is down. It counts with all others, in "confsyncd wait" and in rollouts,
until it is forgotten.`,
		Args: known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.hostListCommand(), a.hostShowCommand(), a.hostForgetCommand())
	return cmd
}

func (a *app) hostListCommand() *cobra.Command {
	var label string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the hosts, the one that is furthest behind first",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.lookAtHosts(cmd.Context(), func(_ context.Context, l *look, f fleet.Fleet) error {
				f.Hosts = labeled(f.Hosts, label)
				return a.listHosts(hostsOf(l.tenant, f))
			})
		},
	}
	cmd.Flags().Var(into(&label, "label", parseLabel), "label", "only hosts with this label, such as role=web")
	return cmd
}

// labeled returns the hosts with a label; the empty one have all.
func labeled(hosts []fleet.Host, label string) (list []fleet.Host) {
	for _, h := range hosts {
		if h.Labeled(label) {
			list = append(list, h)
		}
	}
	return list
}

func (a *app) listHosts(list []hostFacts) error {
	if a.output == "json" {
		for _, h := range list {
			if err := a.json(h); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		return a.printf("no host has reported\n")
	}
	var b strings.Builder
	hostTable(&b, list, 0)
	return a.printf("%s%s\n", b.String(), totalsOf(list))
}

func (a *app) hostShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show all that a host says of itself",
		Args:  arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.lookAtHosts(cmd.Context(), func(_ context.Context, l *look, f fleet.Fleet) error {
				h, ok := f.Find(args[0])
				if !ok {
					return noHost(l.tenant, args[0])
				}
				return a.showHost(hostFactsOf(l.tenant, f, h), h.Lives)
			})
		},
	}
}

// noHost says that there is no host of that id.
func noHost(tenant, id string) error {
	return refused("\"confsyncd host list\" shows those that are there", "tenant %s has no host %s", tenant, printable(id))
}

func (a *app) showHost(h hostFacts, lives []codec.Alive) error {
	if a.output == "json" {
		return a.json(h)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "host       %s\n", printable(h.Host))
	fmt.Fprintf(&b, "life       %s\n", h.Life)
	for _, l := range lives {
		fmt.Fprintf(&b, "process    pid %d on %s, since %s\n", l.PID, printable(l.Name), l.Since.Local().Format(time.DateTime))
	}
	fmt.Fprintf(&b, "state      %s\n", h.State)
	if h.Reason != "" {
		fmt.Fprintf(&b, "reason     %s\n", said(h.Reason))
	}
	fmt.Fprintf(&b, "labels     %s\n", labelText(h.Labels))
	if h.Time != nil {
		fmt.Fprintf(&b, "reported   %s ago, by confsyncd %s\n", ageText(max(0, time.Since(*h.Time))), printable(h.Version))
	}
	if len(h.Targets) > 0 {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\nTARGET\tCHANNEL\tSEEN\tAPPLIED\tRELOADED\tSTATE\tSINCE\tDRIFT\n")
		for _, t := range h.Targets {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%d\n", printable(t.Dir), printable(t.Channel), t.Seen, t.Applied, t.Reloaded, said(t.State), ageText(max(0, time.Since(t.Since))), t.Drift)
		}
		_ = w.Flush() // into memory
		for _, t := range h.Targets {
			hostTargetText(&b, t)
		}
	}
	return a.printf("%s", b.String())
}

// hostTargetText writes what a target's row has no room for.
func hostTargetText(b *strings.Builder, t codec.HostTarget) {
	dir := printable(t.Dir)
	if t.Reason != "" {
		fmt.Fprintf(b, "  %s: %s\n", dir, said(t.Reason))
	}
	if t.Quarantined > 0 {
		fmt.Fprintf(b, "  %s: generation %d is quarantined; \"confsyncd retry\" there tries it again\n", dir, t.Quarantined)
	}
	if o := t.Hook; o != nil {
		outcome := "passed"
		if !o.OK {
			outcome = "failed"
			if o.Reason != "" {
				outcome += ": " + said(o.Reason)
			}
		}
		fmt.Fprintf(b, "  %s: %s of generation %d %s, %s ago\n", dir, said(o.Name), o.Generation, outcome, ageText(max(0, time.Since(o.Time))))
	}
}

// forgottenHost is what host forget prints with -o json.
type forgottenHost struct {
	Tenant string `json:"tenant"`
	Host   string `json:"host"`
}

func (a *app) hostForgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget ID",
		Short: "Count a host no more that is gone",
		Long: `Forget takes away what a host has said of itself: it counts no more, in "confsyncd
wait", in rollouts and in status. It does not touch the host, which reports again if
its agent is started. A host that is alive is not forgotten: exit 5.`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.lookAtHosts(cmd.Context(), func(ctx context.Context, l *look, _ fleet.Fleet) error {
				err := fleet.Forget(ctx, l.store, args[0])
				switch {
				case errors.Is(err, store.ErrAlive):
					return refused("stop its agent first", "host %s is alive", printable(args[0]))
				case errors.Is(err, store.ErrGone):
					return noHost(l.tenant, args[0])
				case err != nil:
					return err
				case a.output == "json":
					return a.json(forgottenHost{Tenant: l.tenant, Host: args[0]})
				}
				return a.printf("%s: host %s is forgotten\n", l.tenant, printable(args[0]))
			})
		},
	}
}

// lookAtHosts does something with the hosts of the tenant that the command line means, be
// there a head or not. See look.
func (a *app) lookAtHosts(ctx context.Context, do func(context.Context, *look, fleet.Fleet) error) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	tenant, err := a.onlyTenant(c)
	if err != nil {
		return err
	}
	return a.visit(ctx, c, tenant, func(ctx context.Context, l *look) error {
		f, err := fleet.Read(ctx, l.store)
		if err != nil {
			return err
		}
		l.view = f.View
		return do(ctx, l, f)
	})
}
