package publisher

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// Options say what is published, where and how.
type Options struct {
	Prefix string // of the keys in etcd
	Tenant string
	Dir    string // absolute
	// Name is the publisher's name in heads and records.
	Name     string
	Settle   time.Duration
	MaxDelay time.Duration
	Rescan   time.Duration
	// Rehash is how often all files are read again, whatever their time stamps say; 0
	// is an hour.
	Rehash time.Duration
	// BusyFiles are paths below Dir; nothing is published while one exists.
	BusyFiles      []string
	Ignore         []string
	RefuseSymlinks bool
	GitModes       bool    // see scan.Options
	MaxFileSize    int64   // bytes
	MaxDelete      float64 // share of the tree, 0 to 1
	// StateDir is where it remembers, see package report too.
	StateDir string
	// Channels are what its commits advance; nil is codec.MainChannel alone.
	Channels []string
	// TakeOver makes it live for the head that it finds at its start.
	TakeOver bool
	// Standby is how long it may give no sign of life, as the leader of an election among
	// publishers of the tenant, before another leads. 0: it holds no election. A push never
	// does.
	Standby time.Duration
	// Copies tells that the publishers of the election have directories of their own, which
	// something else keeps equal; else they share one.
	Copies bool
	// Host is the machine's name, told to the other publishers of an election.
	Host string
	// Retain says how much of the history is kept. Without Generations no keyframe is made only
	// so that something may be removed.
	Retain store.Retention
	// Sweep is how often a daemon that is live removes the rest; 0 is never.
	Sweep time.Duration
	// Swept is called, if it is set, after each sweep with what went.
	Swept func(store.Count)
	// Allow lifts guards, once.
	Allow Allow
	Store *store.Store
	// Beat is called, if it is set, whenever the publisher is not stuck: at least every
	// ten seconds, but for the time that a single file or call takes.
	Beat func()
	// Status is called, if it is set, with what the source is at, whenever the
	// publisher has looked.
	Status func(Status)
	// Committed is called after each commit, if it is set.
	Committed func(Commit)
	Log       hclog.Logger
}

// PushOptions are what only a push knows.
type PushOptions struct {
	// Parent is the generation that the head must be at, 0 for no head: then the head
	// may be any publisher's. Nil asks for the head's name instead.
	Parent *uint64
	// Found is the tenant id and generation to lead agents on from, after both etcd
	// and the publisher's memory were lost; nil otherwise.
	Found   *diff.Position
	Message string
	// DryRun commits nothing.
	DryRun bool
	// Progress is told, if it is set, how many bytes of the new contents were staged.
	// Those of a small commit are not.
	Progress func(done, total int64)
}

// Status is what a source is at.
type Status struct {
	// State is one word, and Reason says what is waited for, as in package report; both
	// are empty before the first look came to an end.
	State, Reason string
	Generation    uint64      // the newest one that is known; 0 if none is
	Instance      string      // by which heads tell this directory from others of the publisher's name
	Held          int         // paths that are held back
	Failures      uint64      // attempts to publish that failed and are made again
	Space         store.Space // of etcd, as the last sweep found it; zero if none did
	// Watch is how the directory is watched, and Begun how often the head was read and
	// watched from there.
	Watch watcher.Health
	Begun uint64
}

// Allow lifts guards for one commit.
type Allow struct {
	Delete bool // more deletions than max_delete
	Root   bool // another root with less than half of the committed paths
	Size   bool // files over max_file_size, up to codec.MaxFileSize
}

// Commit is what was committed.
type Commit struct {
	Position diff.Position
	Changes  []diff.Change
	// Bytes is the size of the new contents, however few bytes of them had to be sent.
	Bytes    int64
	Founding bool
	// Left are paths that changed again and again while they were read: their committed
	// version, or absence, stays for now.
	Left []string
	// Duration is from the beginning of the scan to etcd's answer.
	Duration time.Duration
}

// Counts returns how many paths were created, changed and deleted.
func (c Commit) Counts() (created, changed, deleted int) {
	for _, ch := range c.Changes {
		switch {
		case ch.Created():
			created++
		case ch.Deleted():
			deleted++
		default:
			changed++
		}
	}
	return created, changed, deleted
}
