package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/tenant"
)

func (a *app) tenantCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tenant",
		Short: "Create, list and delete tenants",
		Long: `Tenant manages tenants: their labels, quotas and time to live, and their end. A
tenant that is published to without having been created has none of these.`,
		Args: known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tenantCreateCommand(), a.tenantSetCommand(), a.tenantListCommand(), a.tenantShowCommand(), a.tenantDeleteCommand(), a.tenantPruneCommand())
	for _, c := range cmd.Commands() {
		c.ValidArgsFunction = nothing
	}
	return cmd
}

// settingFlags adds the flags that say what a tenant is to be.
func settingFlags(cmd *cobra.Command, s *tenant.Settings) {
	f := cmd.Flags()
	f.Var(value{kind: "key=value", set: func(word string) error {
		key, v, err := tenant.ParseLabel(word)
		if err == nil {
			setLabel(s, key, &v)
		}
		return err
	}}, "label", "give it a label, such as env=prod; may be repeated")
	f.Var(into(&s.TTL, "duration", lifetime), "ttl", "let \"tenant prune\" delete it after so long from now, such as 7d or 12h; 0: never")
	f.Var(into(&s.QuotaBytes, "size", quotaBytes), "quota-bytes", "the most that its files may hold together, such as 100MiB; 0: no limit")
	f.Var(into(&s.QuotaFiles, "number", quotaFiles), "quota-files", "how many files it may have; 0: no limit")
}

func setLabel(s *tenant.Settings, key string, value *string) {
	if s.Labels == nil {
		s.Labels = make(map[string]*string)
	}
	s.Labels[key] = value
}

// lifetime reads a duration that may be in days.
func lifetime(s string) (*time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no number of days; write 7d, or 12h", s)
		}
		d := time.Duration(n) * 24 * time.Hour //nolint:gosec // Read as 16 bits.
		return &d, nil
	}
	d, err := config.ParseDuration(s)
	if err != nil || d < 0 {
		return nil, fmt.Errorf("%q is no time to live; write a number with a unit (s, m, h, d), such as 7d, or 0 for ever", s)
	}
	return &d, nil
}

func quotaBytes(s string) (*int64, error) {
	if s == "0" {
		return new(int64), nil
	}
	n, err := config.ParseSize(s)
	return &n, err
}

func quotaFiles(s string) (*int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return nil, fmt.Errorf("%q is no number of files; write one, or 0 for no limit", s)
	}
	files := int64(n) //nolint:gosec // Read as 63 bits.
	return &files, nil
}

func (a *app) tenantCreateCommand() *cobra.Command {
	var s tenant.Settings
	var template string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a tenant, perhaps with a first generation",
		Long: `Create registers a tenant, with labels, a time to live and quotas, and gives it its
id. --template publishes a directory as its first generation. Where a tenant of the
same name was deleted, the new one is another: agents of the old one keep their
files until "confsyncd accept".`,
		Args: arguments("NAME"),
	}
	settingFlags(cmd, &s)
	cmd.Flags().Var(into(&template, "path", absolute), "template", "directory to publish as generation 1")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.onTenant(cmd.Context(), args[0], func(ctx context.Context, c *config.Config, etcd *store.Client) error {
			t, err := tenant.Create(ctx, etcd, args[0], s)
			if err != nil {
				return fmt.Errorf("%w; \"confsyncd tenant show %s\" tells more", err, args[0])
			}
			facts := tenantFactsOf(t)
			if template != "" {
				if facts.Generation, err = a.publishTemplate(ctx, c, etcd, t, template); err != nil {
					return fmt.Errorf("tenant %s was created, but %s was not published: %w", t.Name, printable(template), err)
				}
			}
			if a.output == "json" {
				return a.json(facts)
			}
			line := fmt.Sprintf("%s: created, tenant id %v", t.Name, t.ID())
			if facts.Generation > 0 {
				line += fmt.Sprintf(", at generation %d", facts.Generation)
			}
			return a.printf("%s\n", line)
		})
	}
	_ = cmd.RegisterFlagCompletionFunc("template", directory)
	return cmd
}

// publishTemplate publishes a directory as the tenant's first generation.
func (a *app) publishTemplate(ctx context.Context, c *config.Config, etcd *store.Client, t tenant.Tenant, dir string) (uint64, error) {
	log, err := a.logger(c, false)
	if err != nil {
		return 0, configError{err}
	}
	s := config.DefaultSource()
	s.Tenant, s.Dir = t.Name, dir
	if s.Publisher, err = os.Hostname(); err != nil {
		return 0, err
	}
	p, err := publisher.New(publisherOptions(c, s, etcd, log))
	if err != nil {
		return 0, err
	}
	commit, err := p.Push(ctx, publisher.PushOptions{Parent: new(uint64), Message: "tenant create --template"})
	if err != nil || commit == nil {
		return 0, err
	}
	return commit.Position.Generation, nil
}

func (a *app) tenantSetCommand() *cobra.Command {
	var s tenant.Settings
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change a tenant's labels, quotas or time to live",
		Long: `Set changes what is said of a tenant, also of one that was published to without
having been created. What no flag names stays. --ttl counts from now. Publishers go
by new quotas with their next commit.`,
		Args: arguments("NAME"),
	}
	settingFlags(cmd, &s)
	cmd.Flags().Var(value{kind: "key", set: func(key string) error { setLabel(&s, key, nil); return nil }}, "unlabel", "take a label away; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.onTenant(cmd.Context(), args[0], func(ctx context.Context, _ *config.Config, etcd *store.Client) error {
			t, err := tenant.Set(ctx, etcd, args[0], s)
			if err != nil {
				return err
			}
			return a.printTenant(tenantFactsOf(t))
		})
	}
	return cmd
}

// onTenant does something with a tenant that is named on the command line.
func (a *app) onTenant(ctx context.Context, name string, do func(context.Context, *config.Config, *store.Client) error) error {
	if err := a.tenantName("NAME", name); err != nil {
		return err
	}
	return a.onTenants(ctx, do)
}

// onTenants does something with tenants, for as long as etcd answers.
func (a *app) onTenants(ctx context.Context, do func(context.Context, *config.Config, *store.Client) error) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	etcd := client(c, log)
	err = withPatience(ctx, etcd, func(ctx context.Context) error { return do(ctx, c, etcd) })
	return firstError(err, etcd.Close())
}

// tenantName returns an error unless what was given can be the name of a tenant.
func (a *app) tenantName(given, name string) error {
	var fault config.Fault
	if err := config.TenantName(name); errors.As(err, &fault) {
		return usage("%s: %s; %s", given, fault.Problem, fault.Remedy)
	}
	return nil
}
