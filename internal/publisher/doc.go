// Package publisher makes a tenant in etcd equal a directory.
//
// It is level-triggered: whatever wakes it, it compares the directory with the
// committed tree and commits the difference, if it may. There is no queue of edits.
//
// # Who may publish
//
// The head in etcd names the publisher and its instance: a random word for each
// tenant and directory, kept in state_dir. A publisher is live if there is no head,
// if the head is of its own instance, if the directory equals the head's tree, or if
// it was told to take over the head that it found at its start. Otherwise it holds,
// and asks again whenever either side changes. So two publishers of one tenant never
// fight, and none undoes another's commit.
//
// # What it remembers
//
// The position and tree of its newest commit, durable before the commit is logged.
// If etcd no longer holds that position (restored from a backup, wiped, replaced), the
// next commit is a founding: the whole tree, at a higher generation than any before.
//
// Beside it, in bases, it keeps the contents of files that were edited lately, so that
// the next edits travel as patches: a cache, and not synced.
//
// In stamps it keeps what tells whether a file is as it was when it was committed, so that the
// next start need not read all of them: a cache too.
//
// # Caveats
//
// Contents travel in the clear: whoever may read the tenant's keys reads the files.
package publisher
