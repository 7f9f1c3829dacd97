package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/store"
)

// look is a tenant as it is in etcd at one revision, for commands that only look.
type look struct {
	tenant string
	client *store.Client
	store  *store.Store
	view   store.View
	config *config.Config
	log    hclog.Logger
}

// look does something with the tenant that the command line means. It tries again while
// etcd is away, and once if something is missing, unless something was printed.
func (a *app) look(ctx context.Context, do func(context.Context, *look) error) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	tenant, err := a.onlyTenant(c)
	if err != nil {
		return err
	}
	return a.lookAt(ctx, c, tenant, do)
}

// lookAt does something with a tenant. See look.
func (a *app) lookAt(ctx context.Context, c *config.Config, tenant string, do func(context.Context, *look) error) error {
	return a.visit(ctx, c, tenant, func(ctx context.Context, l *look) error {
		if err := l.see(ctx); err != nil {
			return err
		}
		return do(ctx, l)
	})
}

// visit is lookAt that leaves the head to what it does.
func (a *app) visit(ctx context.Context, c *config.Config, tenant string, do func(context.Context, *look) error) error {
	log, err := a.logger(c, false)
	if err != nil {
		return configError{err}
	}
	etcd := client(c, log)
	out := &noting{Writer: a.out}
	stdout := a.out
	a.out = out
	defer func() { a.out = stdout }()
	err = withPatience(ctx, etcd, func(ctx context.Context) error {
		var pace store.Backoff
		for again := true; ; {
			l := &look{tenant: tenant, client: etcd, store: etcd.Tenant(tenant), config: c, log: log}
			err := do(ctx, l)
			// What is missing may have been compacted away between two reads, once.
			gone := errors.Is(err, store.ErrGone) && again
			again = again && !gone
			if err == nil || !store.Temporary(err) && !gone || out.written || pace.Wait(ctx) != nil {
				return err
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("tenant %s: %w", tenant, etcd.Tenant(tenant).Advised(err))
	}
	return firstError(err, etcd.Close())
}

// see reads the head.
func (l *look) see(ctx context.Context) (err error) {
	if l.view, err = l.store.View(ctx); err != nil {
		return err
	}
	if l.view.Err != nil {
		return l.view.Err
	}
	if l.view.Head == nil {
		return fmt.Errorf("%w: nothing was published yet; publish it with \"confsyncd push\" or \"confsyncd publish\", or see that --tenant and --prefix are right", store.ErrNoHead)
	}
	return nil
}

// onlyTenant returns the tenant that was given, or the only one of the configuration.
func (a *app) onlyTenant(c *config.Config) (string, error) {
	if a.given("tenant") {
		return a.tenant, asFlags(tenantFaults(c, a.tenant))
	}
	var names []string
	for _, s := range c.Sources {
		names = append(names, s.Tenant)
	}
	for _, t := range c.Targets {
		names = append(names, t.Tenant)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch len(names) {
	case 0:
		return "", usage("no tenant is known: give --tenant, or write a [[source]] or [[target]] into %s", a.configPath)
	case 1:
		return names[0], nil
	}
	return "", usage("%s has the tenants %s: say which with --tenant", a.configPath, strings.Join(names, ", "))
}

// tenantFaults returns what is wrong with the name of a tenant.
func tenantFaults(c *config.Config, name string) config.Faults {
	t := config.DefaultTarget()
	t.Tenant, t.Dir = name, "/nowhere"
	probe := config.Config{StateDir: c.StateDir, Etcd: c.Etcd, Log: c.Log, Host: c.Host, Targets: []config.Target{t}}
	return probe.Check()
}

// noting notes whether anything was written.
type noting struct {
	io.Writer
	written bool
}

func (n *noting) Write(b []byte) (int, error) {
	n.written = n.written || len(b) > 0
	return n.Writer.Write(b)
}

// headWord names the newest generation on the command line.
const headWord = "head"

// parseGeneration reads a generation of the command line; 0 is the head.
func parseGeneration(word string) (uint64, error) {
	if word == headWord {
		return 0, nil
	}
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil || n == 0 {
		return 0, usage("%q is no generation: write a number from 1, or \"head\"", word)
	}
	return n, nil
}

// at returns the version at a generation; 0 is the head.
func (l *look) at(ctx context.Context, generation uint64) (*store.Version, error) {
	return l.store.At(ctx, l.view, generation)
}

// commitFacts are what -o json tells of a generation.
type commitFacts struct {
	Tenant     string    `json:"tenant"`
	Generation uint64    `json:"generation"`
	Commit     string    `json:"commit"`
	Parent     string    `json:"parent,omitempty"`
	Time       time.Time `json:"time"`
	Publisher  string    `json:"publisher"`
	Instance   string    `json:"instance"`
	Message    string    `json:"message,omitempty"`
	Founding   bool      `json:"founding"`
	Keyframe   bool      `json:"keyframe"`
	Created    int       `json:"created"`
	Changed    int       `json:"changed"`
	Deleted    int       `json:"deleted"`
	Bytes      int64     `json:"bytes"`
	Channels   []string  `json:"channels"` // that are at it now
	onlyMain   bool      // the tenant has no channel but the one that is always at the head
}

func (l *look) factsOf(c *store.Commit) commitFacts {
	r := c.Record
	f := commitFacts{
		Tenant: l.tenant, Generation: r.Generation, Commit: r.Commit.String(), Time: r.Time, Publisher: r.Publisher, Instance: r.Instance,
		Message: r.Message, Founding: r.Founding, Keyframe: c.Keyframe, Bytes: c.Bytes, Channels: []string{},
		onlyMain: len(l.view.Head.Channels) == 0,
	}
	for _, channel := range l.view.Head.AllChannels() {
		if channel.Generation == r.Generation {
			f.Channels = append(f.Channels, channel.Name)
		}
	}
	if !r.Parent.IsZero() {
		f.Parent = r.Parent.String()
	}
	for _, ch := range c.Changes {
		switch {
		case ch.Created():
			f.Created++
		case ch.Deleted():
			f.Deleted++
		default:
			f.Changed++
		}
	}
	return f
}

// marks names what is special about a generation.
func (f commitFacts) marks() string {
	var words []string
	if f.Founding {
		words = append(words, "founding")
	}
	if f.Keyframe {
		words = append(words, "keyframe")
	}
	if !f.onlyMain {
		for _, name := range f.Channels {
			words = append(words, "channel "+printable(name))
		}
	}
	return strings.Join(words, ", ")
}
