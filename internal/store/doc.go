// Package store knows the keys and transactions by which a tenant lies in etcd: it
// commits changesets, follows the head, and reads trees and contents back. It alone
// speaks to etcd.
//
// # What lies there
//
//	<prefix>/<tenant>/pub/head             what the newest commit is
//	<prefix>/<tenant>/pub/log/<%016x gen>  the record of each changeset
//	<prefix>/<tenant>/pub/packs/<sha256>   compressed contents, keyframes, parts of lists
//	<prefix>/<tenant>/ctl/fence            moved by sweeps
//	<prefix>/<tenant>/ctl/election/<lease> who stands for election, the oldest leads
//
// # Promises
//
// A commit becomes visible in one Txn, and only if the head still has the bytes
// that the committer read. What Draft.Commit reports as committed is on a majority
// of members. What Resolve returns was verified: every record's parent, every tree
// digest, every content's hash. At and Commits verify what leads from the keyframe or
// founding below to the generation; that it leads on to the head is what Verify checks.
//
// A sweep never removes what a retained generation, a channel or a rollout needs, nor what a
// commit is about to name: that commit, or the sweep, is not made. See Garbage.Remove.
//
// Elections are for liveness: who leads is known too late, always. What a leader's store
// (LedBy) commits is committed only if its seat was there in that very Txn.
//
// # Caveats
//
// etcd revisions are cursors of one connection, no versions: after a restore they
// begin anew. Nothing here compares them across connections.
//
// Every call has a deadline of its own, since the client would wait on a dead
// endpoint for ever.
package store
