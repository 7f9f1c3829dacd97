// Package rollout brings what was published to the hosts of a channel stage by stage.
//
// A stage is another channel, or a share of the hosts; the last is all of them. Each begins
// when the hosts of those before it have applied the generation, were told of it, and have
// stayed well for a while. A host that refuses the generation, or does not get well with
// it, is a failure; too many of them halt the rollout, as does a stage that is not done in
// time. What was halted stays as it is until an operator decides or something newer is
// published, or the old content comes back as a new generation.
//
// It promises that no host gets a generation before its stage, or a generation older than
// it has; and that a rollout goes on where it was, whichever process leads it, since all
// that is known of it lies in etcd, where each step is one transaction that compares both the
// head and the state. So two processes that lead at a time do no harm.
//
// Caveats: it goes by what hosts say of themselves. One that says nothing is not waited
// for before the last stage, unless it did once: then it counts as down until it is forgotten.
package rollout
