package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/metrics"
	"github.com/confsyncd/confsyncd/internal/notify"
	"github.com/confsyncd/confsyncd/internal/supervise"
)

// crew is what "publish" and "agent" have in common: services that follow the
// configuration, signals, and the service manager.
type crew struct {
	app *app
	// kind is what its services work on: "source" or "target".
	kind string
	// services makes the services of a configuration. They use the connection.
	services func(*config.Config, *connection) ([]supervise.Service, error)

	connection *connection // of the services that run; nil before the first load
	log        hclog.Logger
	where      metrics.Listening       // the daemon answers for monitoring, after the configuration
	listen     func(metrics.Listening) // has it answer elsewhere; nil before there is who answers
	refused    atomic.Bool             // the last reload found faults
}

// run runs the daemon until ctx ends. HUP reads the configuration again, USR1 makes
// all services look at all that they work on.
func (f *crew) run(ctx context.Context) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	first, err := f.load()
	if err != nil {
		return err
	}
	var notifier *notify.Notifier
	supervisor := supervise.New(supervise.Options{
		First: first, Load: f.reload,
		Reloading: func() { notifier.Reloading() }, Reloaded: func() { notifier.Reloaded() },
	})
	notifier = notify.New(notify.Options{State: func() notify.State { return f.state(supervisor.Health()) }, Changed: supervisor.Changed(), Log: f.log})

	monitoring := f.monitoring(supervisor.Health, notifier.Stuck)
	monitoring.Listen(f.where)
	f.listen = monitoring.Listen

	// Both tell until the services have ended.
	telling, told := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error {
		defer told()
		return supervisor.Run(ctx)
	})
	g.Go(func() error {
		notifier.Run(telling)
		return nil
	})
	g.Go(func() error { return monitoring.Run(telling) })
	g.Go(func() error {
		for {
			select {
			case s := <-signals:
				f.signalled(s, supervisor)
			case <-ctx.Done():
				notifier.Stopping()
				return nil
			case <-telling.Done():
				return nil
			}
		}
	})
	err = firstError(g.Wait(), f.connection.close())
	if err == nil {
		f.log.Info("stopped")
	}
	return err
}

func (f *crew) signalled(s os.Signal, supervisor *supervise.Supervisor) {
	if s == syscall.SIGHUP {
		supervisor.Reload()
		return
	}
	supervisor.Look()
}

// load reads the configuration and makes the set of services.
func (f *crew) load() (supervise.Set, error) {
	c, err := f.app.load()
	if err != nil {
		return supervise.Set{}, err
	}
	connection, err := f.app.connect(c, f.connection)
	if err != nil {
		return supervise.Set{}, err
	}
	services, err := f.services(c, connection)
	if err != nil {
		return supervise.Set{}, err
	}
	before := f.connection
	f.connection, f.log, f.where = connection, connection.log, f.listening(c)
	connection.metrics.Daemon(func() metrics.Daemon { return f.daemonFigures(connection) })
	if f.listen != nil {
		f.listen(f.where)
	}
	return supervise.Set{Services: services, Settled: func() {
		connection.metrics.Keep(func(tenant, dir string) bool {
			return slices.ContainsFunc(services, func(s supervise.Service) bool { return s.Name == serviceName(tenant, dir) })
		})
		if before == nil || before == connection {
			return
		}
		if err := before.close(); err != nil {
			f.log.Warn("close the connection to etcd", "error", err)
		}
	}}, nil
}

// reload is load for a daemon that runs, and goes on with what it has if it must.
func (f *crew) reload() (supervise.Set, error) {
	set, err := f.load()
	f.refused.Store(err != nil)
	if err != nil {
		f.log.Error("the configuration was read again and has faults: nothing changes", "error", err)
		return set, err
	}
	f.log.Info("read the configuration again", "services", len(set.Services))
	return set, nil
}

// state is what the service manager is told.
func (f *crew) state(h supervise.Health) notify.State {
	parts := make([]string, 0, len(h.Services))
	for _, s := range h.Services {
		text := s.Status
		switch {
		case s.Err != nil:
			text = s.Err.Error()
		case text == "":
			text = s.Name + " begins"
		}
		parts = append(parts, text)
	}
	status := strings.Join(parts, "; ")
	if len(parts) != 1 {
		status = fmt.Sprintf("%d %ss: %s", len(parts), f.kind, status)
	}
	if f.refused.Load() {
		status = "the configuration has faults, the one before is in use; " + status
	}
	return notify.State{Ready: h.Ready, Beat: h.Beat, Status: status}
}

// statusText says in a few words what a service is at.
func statusText(tenant string, generation, head uint64, state, reason string) string {
	text := tenant
	switch {
	case generation == 0 && head == 0:
	case generation == 0:
		text += fmt.Sprintf(" generation - of %d", head)
	case head > generation:
		text += fmt.Sprintf(" generation %d of %d", generation, head)
	default:
		text += fmt.Sprintf(" generation %d", generation)
	}
	if state == "" {
		return text + " begins"
	}
	text += " " + strings.ReplaceAll(state, "_", " ")
	if reason == "" {
		return text
	}
	const most = 200 // bytes
	if len(reason) > most {
		reason = reason[:most] + " …"
	}
	return text + ": " + reason
}

// serviceName is what a service is called in messages.
func serviceName(tenant, dir string) string { return tenant + " " + printable(dir) }
