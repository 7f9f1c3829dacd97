// Package e2e holds tests of confsyncd's promises from outside: the real binary, as
// processes, against an etcd server in a process of its own that fsyncs. Processes are
// killed, etcd is killed, wiped and put back to an older state, files are edited all
// the while, and somebody reads the targets all the while.
//
// It has no code but its tests. -kills, -switches, -seed, -outage and -short change what they do; the
// benchmarks measure how long an edit and a first sync take.
package e2e
