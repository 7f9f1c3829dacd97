// Package lab is what tests of whole processes are made of: a Lab has an etcd in processes
// of its own, and Hosts, on which the real binary publishes and applies. A Writer edits a
// source and knows all that was ever in it; its Ledger tells any version of a file from
// what never was one. A Reader looks at a target as those do who use its files, and Stay
// has the kernel say whether a path was there at every instant. A Trace stops a process at any one
// of its file system calls, and a Disk is one of which the power can be cut.
//
// Its functions return errors, or end the test that they are handed. It is imported by
// tests alone.
package lab
