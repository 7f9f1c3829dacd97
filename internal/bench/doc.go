// Package bench measures how fast the program is, beside what the machine itself takes for
// the same work, and beside other programs. "make bench" runs all of it in less than ten
// minutes and writes docs/benchmarks.md and its plots; "make bench RUN=edit" measures one
// figure again.
//
// A Figure is a subject: it measures ours and its floor in turn, in the same minutes, and
// says so in rows, each with the target that it is held against. A floor is what the same
// work costs without us: the bare system calls, a bare etcd client, another tool. What is
// compared is interleaved, so that a machine that is slow for a while is slow for both;
// ratios mean more than milliseconds.
//
// The program is a process, built as packages ship it; etcd is its own server in a process
// of its own, which syncs as it always does. Where a directory is a tmpfs, its row says so.
//
// A new figure is a file, and an entry in figures. A new peer is a script in
// testdata/peers. It has the build tag bench.
package bench
