// Package faults is the fault lab: a table of everything that can go wrong, tried against
// the real binary in processes of its own, with real etcd servers. "make faults" runs all
// of it and writes docs/faults.md; "make faults RUN=etcd/leader" runs what the name matches.
//
// A Case makes one fault, heals it, and returns. The World around it has a publisher and
// an agent, somebody who edits the source, somebody who reads the target all the while,
// and bystanders. These are checked of every case, by letter:
//
//	a  every managed path is exactly an old or exactly a new version, mode and owner too, at every instant
//	b  the journal never runs ahead of the disk, and its generation never falls
//	c  nothing acknowledged is lost; the target equals the source in the end
//	d  nothing outside the target changed, nothing is left over, nothing is deleted that nobody deleted
//	e  all of that within 20 s after the fault healed, unattended
//	f  errors name path, cause and remedy, and no log holds contents
//	g  no descriptor and no watch leaks
//
// A new case is an entry in its group's table. It has the build tag faults.
package faults
