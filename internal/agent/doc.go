// Package agent makes a directory equal a tenant in etcd.
//
// It is level-triggered: whatever wakes it, it takes the newest head, works out what
// leads there from what the target's journal says, and lets package install do it.
// Generations that wait are one apply.
//
// What others change in the target is found by watching it and by the clock, and put
// right by the same goroutine, after a new generation, or only reported. An operator may
// pause a target, or pin it to a generation.
//
// # Promises
//
// Nothing is written before everything was verified: parents, digests, paths, sizes,
// hashes. An etcd that is away, empty, rewound without a founding, damaged, or of
// another tenant id changes no file: the agent keeps what it has, says what it waits
// for, and goes on trying.
//
// # Caveats
//
// A full look at the contents, once an hour, holds up applies for as long as it takes to
// read them.
//
// Selecting paths is no access control: an agent may read the whole tenant, and keeps
// all its entries, though not their contents, to check the digest over all.
package agent
