package main

import (
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/agent"
	"github.com/confsyncd/confsyncd/internal/config"
	"github.com/confsyncd/confsyncd/internal/metrics"
	"github.com/confsyncd/confsyncd/internal/notify"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/supervise"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// monitoring makes what answers for monitoring.
func (f *crew) monitoring(health func() supervise.Health, stuck func(time.Time) error) *metrics.Server {
	return metrics.NewServer(metrics.Options{
		Text:  f.connection.metrics.Text, // all connections have the same
		Alive: func() error { return stuck(health().Beat) },
		Ready: func() ([]string, bool) { return f.readiness(health()) },
		Log:   f.log,
	})
}

// listening returns where a configuration has the daemon answer.
func (f *crew) listening(c *config.Config) metrics.Listening {
	if f.kind == "source" {
		return metrics.Listening{Address: c.HTTP.Publisher, Key: "[http] publisher", Profile: c.HTTP.Pprof}
	}
	return metrics.Listening{Address: c.HTTP.Agent, Key: "[http] agent", Profile: c.HTTP.Pprof}
}

// readiness says of each service whether what it keeps is good.
func (f *crew) readiness(h supervise.Health) (lines []string, ready bool) {
	ready = len(h.Services) > 0
	for _, s := range h.Services {
		word, text := "ready", s.Status
		if s.Err != nil {
			text = s.Err.Error()
		}
		if s.Err != nil || !s.Good {
			word, ready = "not ready", false
		}
		if text == "" {
			text = "begins"
		}
		lines = append(lines, fmt.Sprintf("%s: %s: %s", word, s.Name, notify.Line(text)))
	}
	return lines, ready
}

// daemonFigures are what all services of a daemon share.
func (f *crew) daemonFigures(on *connection) metrics.Daemon {
	calls := on.etcd.Calls()
	d := metrics.Daemon{Calls: calls.Made, Failed: calls.Failed, Broken: calls.Broken, Refused: f.refused.Load()}
	if since, err := on.etcd.Failing(); err != nil {
		d.Failing = time.Since(since)
	}
	return d
}

func sourceFigures(s publisher.Status) metrics.SourceStatus {
	return metrics.SourceStatus{
		State: s.State, Generation: s.Generation, Held: s.Held, Failures: s.Failures, Space: metrics.Space(s.Space), Watch: watchFigures(s.Watch, s.Begun),
	}
}

func targetFigures(s agent.Status) metrics.TargetStatus {
	return metrics.TargetStatus{
		State: s.State, Generation: s.Applied, Head: s.Head, Behind: s.Behind, Reloaded: s.Reloaded, Quarantined: s.Quarantined, Drift: s.Drift,
		Failures: s.Failures, Watch: watchFigures(s.Watch, s.Begun),
	}
}

func watchFigures(h watcher.Health, begun uint64) metrics.Watch {
	return metrics.Watch{Directories: h.Directories, Overflows: h.Overflows, Polled: h.Polled, Begun: begun}
}

func countCommit(s *metrics.Source, c publisher.Commit) {
	created, changed, deleted := c.Counts()
	s.Committed(c.Duration, c.Bytes, metrics.Paths{Created: created, Changed: changed, Deleted: deleted})
}

func countApply(t *metrics.Target, a agent.Applied) {
	t.Applied(a.Duration, a.Since, a.Bytes, metrics.Paths{Created: a.Created, Changed: a.Changed, Deleted: a.Deleted})
}
