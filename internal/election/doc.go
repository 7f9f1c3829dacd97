// Package election decides which of several processes is live for a tenant.
//
// Each takes a seat in etcd, under a lease that it renews; the one whose seat is the
// oldest leads. When a leader ends it gives its seat up, and the next one leads at once.
// When it is killed or cut off, its seat goes with its lease.
//
// # Promises
//
// While any candidate can reach etcd, one leads within twice the lease's time to live. A
// candidacy whose lease or seat is lost is given up as a whole and begun anew.
//
// # Caveats
//
// An election is for liveness. Two processes may both take themselves for the leader: one
// that was paused does not know yet. What only a leader may do must compare its seat in
// the very Txn that does it, see store.LedBy.
//
// It does not use the Campaign and Observe of etcd's own package concurrency, only its
// sessions. A Campaign does not end with its session, and then wins without a seat or
// waits for ever; it leaves its key behind after an error (etcd issue 21128); its watch
// requires no leader, and one that the client resumed against an etcd restored from a
// backup stays open and deaf. Observe does not tell that nobody leads, and can name the
// wrong one (issue 18163). Here the candidates are read anew after each change, whenever
// the connection is lost, and twice in each time to live.
package election
