package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// Options say what is applied where.
type Options struct {
	Prefix string // of the keys in etcd
	Tenant string
	Dir    string // absolute
	// Channel is what the target follows; empty is codec.MainChannel.
	Channel string
	// Host tells rollouts who this is.
	Host Host
	// Paths are patterns of what is selected; none selects everything.
	Paths []string
	// StripPrefix is taken off the selected paths; it ends with a slash.
	StripPrefix string
	// Mode says what of the target switches at once; empty is path by path.
	Mode install.Mode
	// UID and GID own what is written; -1 leaves it to who runs the agent.
	UID, GID int
	// FileMode is the mode of all files, nil for as published.
	FileMode *uint32
	// ReplaceExisting replaces what differs at first contact, and keeps it.
	ReplaceExisting bool
	// ReportDrift leaves what others change in the target as it is, and only says so,
	// until a generation changes it.
	ReportDrift bool
	// Hooks try out what is applied.
	Hooks Hooks
	// Pin makes Pull apply its generation, which may be an older one, and stay there until
	// it is taken back.
	Pin *install.Hold
	// Prune makes Pull remove what changes of the selection have left behind.
	Prune bool
	// StateDir is where the target is registered, see package report.
	StateDir string
	Store    *store.Store
	// Ready is called once, if it is set: when the target is what some generation made
	// it, be it the newest or not, or when it waits for an operator.
	Ready func()
	// Beat is called, if it is set, whenever the agent is not stuck: at least every
	// ten seconds, but for the time that a single system call takes.
	Beat func()
	// Progress is told, if it is set, how many bytes of the contents of the apply in hand
	// were staged.
	Progress func(done, total int64)
	// Status is called, if it is set, with what the target is at, whenever the agent
	// has looked.
	Status func(Status)
	// Applied is called after each apply, if it is set.
	Applied func(Applied)
	// Repaired is called after each repair, if it is set, with how many paths were put right.
	Repaired func(paths int)
	// InSync is called when the target has come to equal the head, if it is set.
	InSync func(generation uint64)
	// Hooked is called after each run of a hook, if it is set, with the hook's name and whether
	// it ended well. A run that was interrupted, since the agent ends, is none.
	Hooked func(name string, ok bool)
	// Rested is called, if it is set, when the agent has had nothing to do for a moment
	// after it opened the target, and after each apply of many paths: the memory that this
	// took is needed no more.
	Rested func()
	Log    hclog.Logger
}

// Status is what a target is at.
type Status struct {
	// State is one word, and Reason says what is waited for, as in package report; both
	// are empty before the first look came to an end.
	State, Reason string
	Generation    uint64 // of the target; 0 before the first apply
	Head          uint64 // what its channel is known to be at; 0 if that is not known
	// Position is what the target is at; zero before the first apply.
	Position diff.Position
	// Drift is how many paths are not as they were published.
	Drift int
	// Seen is the newest generation that the target is to come to, Applied the one whose
	// files it has, Reloaded the newest that passed reload and health, or needed none. Quarantined is the one that
	// a hook refused, and that is not tried again. 0 is none.
	Seen, Applied, Reloaded, Quarantined uint64
	// Hook is how the last hook ended; nil if none ran.
	Hook *codec.HookOutcome
	// Behind is since when there has been a generation that the target lacks, as far as
	// is known here; zero if there is none.
	Behind time.Time
	// Failures are how many attempts to apply have failed and are made again.
	Failures uint64
	// Watch is how the target is watched, and Begun how often the head was read and
	// watched from there.
	Watch watcher.Health
	Begun uint64
}

// Applied is what an apply did.
type Applied struct {
	install.Result
	Position diff.Position
	// From is the generation before, 0 at first contact.
	From uint64
	// Since is when the oldest of the generations was committed that are new, by its
	// publisher's clock; zero if that is not known.
	Since time.Time
	// Duration is from the news of the head to the end of the apply.
	Duration time.Duration
}

// meta is what the journal knows the target by.
func (o Options) meta() journal.Meta {
	selection := ""
	if len(o.Paths) > 0 || o.StripPrefix != "" {
		paths := slices.Clone(o.Paths)
		slices.Sort(paths)
		selection = fmt.Sprintf("paths %q strip_prefix %q", paths, o.StripPrefix)
	}
	return journal.Meta{Tenant: o.Tenant, Prefix: o.Prefix, Selection: selection, UID: int64(o.UID), GID: int64(o.GID)}
}
