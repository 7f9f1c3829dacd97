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
// # Hooks
//
// A generation is tried out by the programs of Hooks, in steps that a crash may come
// between. What is known lies durably in the target, see install.Proof:
//
//	staged     check runs on a copy of all that the target is to hold
//	           failed: the generation is refused; nothing was changed
//	on trial   noted, with what leads back, before the first path is switched
//	applied    reload runs, then health; more generations that come meanwhile wait, those
//	           that come before are part of the trial
//	proven     the trial is over, and what leads back is dropped
//	refused    reload or health failed: noted, then the files of the last proven generation
//	           come back by an apply of their own, and reload runs again
//
// The target's position never falls: after a revert it is that of the refused generation,
// and the managed tree is the earlier one's, so that drift is put right to that, and the
// next generation is applied as a change from that. A refused generation is not tried again
// until what the target follows is another one, or an operator says so. An agent that finds a trial
// at its start runs reload, or goes on to revert, with or without etcd.
//
// Hooks run in the goroutine that applies: while one runs nothing else is done to this target.
// A repair is a trial too, without a way back. A first contact has none either: what stood
// there before was not ours.
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
