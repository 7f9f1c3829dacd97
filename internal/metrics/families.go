package metrics

import "time"

// family is one metric, and how its samples are read.
type family struct {
	name string
	kind kind
	help string
	read func(snapshot, *page)
}

// families are all metrics, in the order of the page. Names and units are as
// https://prometheus.io/docs/practices/naming/ wants them.
func families() []family {
	return append(append(daemonFamilies(), sourceFamilies()...), targetFamilies()...)
}

func daemonFamilies() []family {
	one := func(value func(snapshot) float64) func(snapshot, *page) {
		return func(s snapshot, p *page) { p.add(value(s)) }
	}
	return []family{
		{"confsyncd_build_info", gauge, "Always 1; the label is the program's version.", func(s snapshot, p *page) {
			p.add(1, label{"version", s.version})
		}},
		{
			"confsyncd_config_refused", gauge, "1 if the configuration was read again and has faults: the one before is in use.",
			one(func(s snapshot) float64 { return bit(s.daemon.Refused) }),
		},
		{"confsyncd_etcd_calls_total", counter, "Calls to etcd.", one(func(s snapshot) float64 { return float64(s.daemon.Calls) })},
		{"confsyncd_etcd_failed_calls_total", counter, "Calls that did not reach etcd, and are made again.", one(func(s snapshot) float64 { return float64(s.daemon.Failed) })},
		{"confsyncd_etcd_failing_seconds", gauge, "For how long no call has reached etcd; 0 if the last one did.", one(func(s snapshot) float64 { return s.daemon.Failing.Seconds() })},
		{"confsyncd_etcd_breaker_open", gauge, "1 while calls have failed so often in a row that one at a time is tried.", one(func(s snapshot) float64 { return bit(s.daemon.Broken) })},
		{"process_cpu_seconds_total", counter, "User and system time of the process.", one(func(s snapshot) float64 { return s.process.cpu })},
		{"process_resident_memory_bytes", gauge, "Resident memory of the process.", one(func(s snapshot) float64 { return s.process.resident })},
		{"process_open_fds", gauge, "File descriptors that are open.", one(func(s snapshot) float64 { return float64(s.process.files) })},
		{"go_goroutines", gauge, "Goroutines that exist.", one(func(s snapshot) float64 { return float64(s.process.goroutines) })},
		{"confsyncd_watched_directories", gauge, "Directories that inotify watches.", each(func(w Watch) float64 { return float64(w.Directories) })},
		{"confsyncd_watch_overflows_total", counter, "How often events were lost, so that everything was looked at.", each(func(w Watch) float64 { return float64(w.Overflows) })},
		{"confsyncd_watch_polling", gauge, "1 if something is polled, since no event would tell of it.", each(func(w Watch) float64 { return bit(w.Polled) })},
		{
			"confsyncd_etcd_watches_begun_total", counter, "How often the head was read and watched from there: once, and after each loss of the connection.",
			each(func(w Watch) float64 { return float64(w.Begun) }),
		},
	}
}

// each reads what sources and targets both have.
func each(value func(Watch) float64) func(snapshot, *page) {
	return func(s snapshot, p *page) {
		for _, f := range s.sources {
			p.add(value(f.Watch), f.labels()...)
		}
		for _, f := range s.targets {
			p.add(value(f.Watch), f.labels()...)
		}
	}
}

func sourceFamilies() []family {
	of := func(value func(sourceFigures) float64) func(snapshot, *page) {
		return func(s snapshot, p *page) {
			for _, f := range s.sources {
				p.add(value(f), f.labels()...)
			}
		}
	}
	return []family{
		{"confsyncd_source_generation", gauge, "Newest generation that the publisher knows.", of(func(f sourceFigures) float64 { return float64(f.Generation) })},
		{"confsyncd_source_state", gauge, "1 for the state that the source is in, 0 for the others.", func(s snapshot, p *page) {
			for _, f := range s.sources {
				p.states(f.place, f.State, "live", "beside", "standby", "busy", "waiting", "holding")
			}
		}},
		{"confsyncd_source_held_paths", gauge, "Paths that are held back: their committed version, or absence, stays.", of(func(f sourceFigures) float64 { return float64(f.Held) })},
		{"confsyncd_publish_failures_total", counter, "Attempts to publish that failed, and are made again.", of(func(f sourceFigures) float64 { return float64(f.Failures) })},
		{"confsyncd_commit_duration_seconds", histogram, "Commits: from the beginning of the scan to etcd's answer.", func(s snapshot, p *page) {
			for _, f := range s.sources {
				p.addHistogram(&f.commits, f.labels()...)
			}
		}},
		{"confsyncd_committed_bytes_total", counter, "Size of the new contents that were committed, however few bytes of them had to be sent.", of(func(f sourceFigures) float64 { return float64(f.bytes) })},
		{"confsyncd_committed_paths_total", counter, "Paths that commits created, changed and deleted.", func(s snapshot, p *page) {
			for _, f := range s.sources {
				p.changes(f.place, f.paths)
			}
		}},
		{"confsyncd_sweeps_total", counter, "Sweeps that removed from etcd what is not retained.", of(func(f sourceFigures) float64 { return float64(f.sweeps) })},
		{"confsyncd_swept_records_total", counter, "Records of generations that sweeps removed.", of(func(f sourceFigures) float64 { return float64(f.swept[0]) })},
		{"confsyncd_swept_packs_total", counter, "Packs of contents that sweeps removed.", of(func(f sourceFigures) float64 { return float64(f.swept[1]) })},
		{"confsyncd_swept_bytes_total", counter, "Bytes of both.", of(func(f sourceFigures) float64 { return float64(f.swept[2]) })},
		{"confsyncd_etcd_quota_bytes", gauge, "Quota of etcd's database, as the last sweep found it; 0 if it is not known.", of(func(f sourceFigures) float64 { return float64(f.Space.Quota) })},
		{"confsyncd_etcd_database_bytes", gauge, "Size of etcd's database, which the quota bounds.", of(func(f sourceFigures) float64 { return float64(f.Space.Used) })},
		{"confsyncd_etcd_database_in_use_bytes", gauge, "The part of it that is in use: the rest comes back with a defragmentation.", of(func(f sourceFigures) float64 { return float64(f.Space.InUse) })},
	}
}

func targetFamilies() []family {
	of := func(value func(targetFigures) float64) func(snapshot, *page) {
		return func(s snapshot, p *page) {
			for _, f := range s.targets {
				p.add(value(f), f.labels()...)
			}
		}
	}
	return []family{
		{"confsyncd_target_generation", gauge, "Generation whose files the target has; 0 before the first apply.", of(func(f targetFigures) float64 { return float64(f.Generation) })},
		{"confsyncd_target_head_generation", gauge, "Newest generation that the agent knows.", of(func(f targetFigures) float64 { return float64(f.Head) })},
		{"confsyncd_target_behind_generations", gauge, "Generations that the target lacks.", of(func(f targetFigures) float64 { return float64(f.Head - min(f.Generation, f.Head)) })},
		{"confsyncd_target_lag_seconds", gauge, "Age of the oldest generation that the target lacks, as far as the agent knows; 0 if it lacks none.", of(targetFigures.lag)},
		{"confsyncd_target_state", gauge, "1 for the state that the target is in, 0 for the others.", func(s snapshot, p *page) {
			for _, f := range s.targets {
				p.states(f.place, f.State, "in_sync", "drifted", "waiting", "failing", "holding", "paused", "pinned", "reloading", "quarantined")
			}
		}},
		{"confsyncd_target_reloaded_generation", gauge, "Newest generation that passed reload and health, or needed neither.", of(func(f targetFigures) float64 { return float64(f.Reloaded) })},
		{"confsyncd_target_quarantined_generation", gauge, "Generation that a hook refused, and that is not tried again; 0 if there is none.", of(func(f targetFigures) float64 { return float64(f.Quarantined) })},
		{"confsyncd_hook_runs_total", counter, "Runs of hooks, by how they ended.", func(s snapshot, p *page) {
			for _, f := range s.targets {
				p.hooks(f)
			}
		}},
		{"confsyncd_target_drifted_paths", gauge, "Paths that are not as they were published.", of(func(f targetFigures) float64 { return float64(f.Drift) })},
		{"confsyncd_repaired_paths_total", counter, "Paths that others had changed and that were put right.", of(func(f targetFigures) float64 { return float64(f.repaired) })},
		{"confsyncd_apply_failures_total", counter, "Attempts to apply that failed, and are made again.", of(func(f targetFigures) float64 { return float64(f.Failures) })},
		{"confsyncd_apply_duration_seconds", histogram, "Applies: from the news of the head to files that are in place, on disk.", func(s snapshot, p *page) {
			for _, f := range s.targets {
				p.addHistogram(&f.applies, f.labels()...)
			}
		}},
		{"confsyncd_edit_to_visible_seconds", histogram, "From the commit of the oldest generation in an apply, by the publisher's clock, to files that are in place, by this host's.", func(s snapshot, p *page) {
			for _, f := range s.targets {
				p.addHistogram(&f.visible, f.labels()...)
			}
		}},
		{"confsyncd_applied_bytes_total", counter, "Bytes of contents that applies wrote.", of(func(f targetFigures) float64 { return float64(f.bytes) })},
		{"confsyncd_applied_paths_total", counter, "Paths that applies created, changed and deleted.", func(s snapshot, p *page) {
			for _, f := range s.targets {
				p.changes(f.place, f.paths)
			}
		}},
	}
}

// lag is for how many seconds there has been a newer generation.
func (f targetFigures) lag() float64 {
	if f.Behind.IsZero() {
		return 0
	}
	return max(time.Since(f.Behind).Seconds(), 0)
}

// states adds a sample for each state, so that one that is over is seen to be.
func (p *page) states(at place, now string, all ...string) {
	for _, state := range all {
		p.add(bit(state == now), at.labels(label{"state", state})...)
	}
}

// changes adds a sample for each kind of change.
func (p *page) changes(at place, counts [3]uint64) {
	for i, change := range []string{"created", "changed", "deleted"} {
		p.add(float64(counts[i]), at.labels(label{"change", change})...)
	}
}

// hooks adds a sample for each way in which a hook has ended.
func (p *page) hooks(f targetFigures) {
	for _, hook := range []string{"check", "reload", "health"} {
		for _, ok := range []bool{true, false} {
			n, ran := f.hooks[outcome{hook, ok}]
			if !ran {
				continue
			}
			word := "failed"
			if ok {
				word = "ok"
			}
			p.add(float64(n), f.labels(label{"hook", hook}, label{"outcome", word})...)
		}
	}
}

func bit(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
